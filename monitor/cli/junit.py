"""Results of rule tests as JUnit XML, for CI systems."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from monitor.rule_tests import Result


def xml(results: Sequence[Result]) -> bytes:
    """Return one suite for each file of tests."""
    suites = ET.Element("testsuites", tests=str(sum(len(one.outcomes) for one in results)))
    for result in results:
        counts = {"tests": str(len(result.outcomes)), "failures": str(len(result.failures)), "errors": "0"}
        suite = ET.SubElement(suites, "testsuite", {"name": result.file, **counts})
        for outcome in result.outcomes:
            case = ET.SubElement(suite, "testcase", classname=result.file, name=outcome.test)
            if outcome.differences:
                failure = ET.SubElement(case, "failure", message=_printable(outcome.differences[0]))
                failure.text = _printable("\n".join(outcome.differences))
    suites.set("failures", str(sum(len(one.failures) for one in results)))
    return bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))


def _printable(text: str) -> str:
    """Leave out the control characters that XML 1.0 can't hold."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
