"""The command line: exit codes, and mistakes that editors can jump to."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

from monitor import __version__
from monitor.cli import client, main

ROOT = Path(__file__).parents[1]
CORE, CORE_TEST = ROOT / "rules/monitor/core.yml", ROOT / "rules/monitor/core_test.yml"


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_the_version_is_printed() -> None:
    assert run("version") == (0, f"whatsapp-monitor {__version__}\n")


def test_the_shipped_rules_are_right_and_pass_their_tests() -> None:
    checked, said = run("rules", "check", CORE)
    tested, _ = run("rules", "test", CORE_TEST)

    assert (checked, tested) == (0, 0)
    assert said.startswith("6 rules found")


def test_wrong_rules_are_exit_2_with_file_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text("rules:\n  - name: x\n    mach: {}\n")

    code, said = run("rules", "check", file)

    assert code == 2
    assert f"{file}:3:5: rules[0].mach: unknown key" in said


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ("pauses: []", "pauses: expected 0, got 1"),
        ("pauses: [{rule: policy_block, scope: all}]", "'scope': 'waba'"),
        ("flags: [{rule: duplicate_burst}]", "flags: expected"),
        ("resends: [{wamid: w}]", "resends: expected"),
        ("alerts: []", "alerts: expected 0, got 1"),
        ("gate: [{waba_id: waba, allow: true}]", "got allow=False rule=policy_block"),
    ],
)
def test_an_expectation_that_does_not_hold_fails_and_says_what_differs(
    tmp_path: Path, expected: str, difference: str
) -> None:
    file = tmp_path / "some_test.yml"
    events = "events: [{at: 0s, code: 368}]"
    file.write_text(f"rule_files: ['{CORE}']\ntests: [{{name: one, {events}, expect: [{{at: 1s, {expected}}}]}}]")

    code, said = run("rules", "test", file)

    assert code == 1
    assert "FAILED: one" in said
    assert difference in said


def test_a_wrong_configuration_is_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "monitor.yml"
    file.write_text("webhook: {}\n")

    code, said = run("check-config", file)

    assert code == 2
    assert "webhook.app_secrets: required" in said


@pytest.mark.parametrize("words", [["FILE"], ["--config.file", "FILE"], []], ids=["argument", "option", "variable"])
def test_the_configuration_to_check_is_named_in_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    file = tmp_path / "mine.yml"
    file.write_text(f"webhook: {{app_secrets: [0123456789abcdef], verify_tokens: [t]}}\nrules: {{files: [{CORE}]}}\n")
    monkeypatch.setenv("WHATSAPP_MONITOR_CONFIG_FILE", str(tmp_path / "other.yml" if words else file))

    code, said = run("check-config", *[word.replace("FILE", str(file)) for word in words])

    assert code == 0
    assert f"{file}: fine; 6 rules" in said


def options(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Option]]:
    """Yield every option of every command under the variable that docs/cli.md promises."""
    for option in command.params:
        if isinstance(option, click.Option):
            (text,) = (one.removeprefix("--") for one in option.opts if one.startswith("--"))
            yield re.sub(r"[. -]", "_", "_".join(("WHATSAPP_MONITOR", *words, text))).upper(), option
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from options(inner, (*words, name))


@pytest.mark.parametrize(("variable", "option"), list(options(main)), ids=lambda one: str(one)[:60])
def test_every_option_is_a_variable_of_its_own_text(
    monkeypatch: pytest.MonkeyPatch, variable: str, option: click.Option
) -> None:
    for name in option.envvar or ():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "given")

    assert option.resolve_envvar_value(click.Context(main)) == "given"
    assert [name for name, _ in options(main)].count(variable) == 1


def test_a_pause_ends_when_a_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def call(*told: Any) -> dict[str, Any]:
        asked.append(told[-1])
        return {"pause": {"id": "p1"}}

    monkeypatch.setattr(client, "call", call)
    monkeypatch.setenv("WHATSAPP_MONITOR_PAUSES_ADD_FOR", "2s")

    code, _ = run("pauses", "add", "--scope", "all", "--reason", "trying")

    assert code == 0
    assert asked[0]["for"] == "2s"


def test_a_sidecar_that_does_not_answer_is_exit_1() -> None:
    code, said = run("pauses", "list", "--url", "http://127.0.0.1:9")

    assert code == 1
    assert "does not answer" in said


def test_a_write_needs_a_reason() -> None:
    code, said = run("pauses", "add", "--scope", "all")

    assert code == 2
    assert "--reason" in said


EVENT = ROOT / "docs/examples/failed.json"


def test_an_event_is_explained_fact_by_fact() -> None:
    code, said = run("rules", "explain", EVENT, CORE)

    assert code == 0
    assert "duplicate_burst (match): matches" in said
    assert "+ code: 506, wanted 506" in said
    assert "= 1 of 5 events within 60s" in said
    assert "- code: 506, wanted 368" in said
    assert "=> nothing is done" in said


def test_an_explanation_says_what_is_done_and_what_is_too_old(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text("rules: [{name: dup, match: {code: 506}, actions: [flag]}]")

    _, just = run("rules", "explain", EVENT, rules, "--json")
    _, old = run("rules", "explain", EVENT, rules, "--now")

    assert json.loads(just)[0]["actions"] == [{"rule": "dup", "action": "flag", "mode": "enforce"}]
    assert "dup: ignored, since the event is older than its max_age" in old


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "not JSON at line 1, column 1"),
        ("{}", "there is no event in it"),
        ("[1]", "there is no event in it"),
        ('{"object": 1,\n "entry": [}', "not JSON at line 2, column 12"),
    ],
)
def test_what_holds_no_event_is_exit_2(tmp_path: Path, body: str, told: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(body)

    code, said = run("rules", "explain", file, CORE)

    assert code == 2
    assert f"{file}: {told}: a webhook body as Meta posts it is wanted" in said


def test_results_are_written_as_junit_xml(tmp_path: Path) -> None:
    file = tmp_path / "some_test.yml"
    events = "events: [{at: 0s, code: 368}]"
    good, bad = (f"{events}, expect: [{{at: 1s, {wrong}: []}}]" for wrong in ("flags", "pauses"))
    file.write_text(f"rule_files: ['{CORE}']\ntests:\n  - {{name: good, {good}}}\n  - {{name: bad, {bad}}}\n")

    code, _ = run("rules", "test", file, "--junit", tmp_path / "out.xml")

    suites = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert code == 1
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suites.iter("testcase")] == ["good", "bad"]
    assert next(suites.iter("failure")).text == "at 1s: pauses: expected 0, got 1: ['policy_block']"


def test_coverage_tells_what_was_not_tried(tmp_path: Path) -> None:
    file = tmp_path / "some_test.yml"
    file.write_text(
        f"rule_files: ['{CORE}']\ntests: [{{name: one, events: [{{at: 0s, code: 368}}], expect: [{{at: 1s}}]}}]"
    )

    _, said = run("rules", "test", file, "--coverage")

    assert "Rules that fired: 1 of 6" in said
    assert "never fired: duplicate_burst" in said
    assert "never held: message_expired.match.code" in said
    assert "never failed: policy_block.match.code" in said


def test_only_the_tests_that_are_asked_for_run() -> None:
    _, said = run("rules", "test", CORE_TEST, "--run", "burst")

    assert "SUCCESS: 1 tests" in said


def test_files_are_held_against_others(tmp_path: Path) -> None:
    mild = tmp_path / "mild.yml"
    mild.write_text("override: [{name: policy_block, mode: shadow}]")

    code, said = run("rules", "check", CORE, mild, "--against", CORE)

    assert code == 1
    assert "loosened: rule policy_block, which pauses sending, is only a shadow" in said
