"""Prometheus' alert rules: valid, tested by promtool, documented by a runbook, and about metrics that exist."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import promql

ROOT = Path(__file__).parents[1]
RULES = ROOT / "rules" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
RUNBOOK_URL = "https://github.com/whatsapp-monitor/whatsapp-monitor/blob/main/docs/runbooks"
PROMETHEUS_OWN = {"up"}
TESTS = ("alerts_test.yml", "drill_test.yml")


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alert rules by name."""
    read = yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in read["groups"] for rule in group["rules"]}


def recorded() -> dict[str, str]:
    """Return the recording rules: the expression of each series."""
    read = yaml.safe_load((RULES / "recording.yml").read_text(encoding="utf-8"))
    return {rule["record"]: rule["expr"] for group in read["groups"] for rule in group["rules"]}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool beside the rules; skip where there is none, except in CI."""
    found = shutil.which("promtool")
    if found is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return subprocess.run(
        [found or "promtool", *arguments], cwd=RULES, capture_output=True, text=True, timeout=60, check=False
    )


def promtool_cases() -> list[dict[str, Any]]:
    """Return every expectation of the promtool tests."""
    read = [yaml.safe_load((RULES / name).read_text(encoding="utf-8")) for name in TESTS]
    return [expected for file in read for group in file["tests"] for expected in group["alert_rule_test"]]


def test_promtool_finds_the_rules_valid() -> None:
    done = promtool("check", "rules", "recording.yml", "alerts.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_that_each_alert_fires_when_it_should() -> None:
    done = promtool("test", "rules", *TESTS)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_a_severity_texts_and_the_address_of_its_runbook(name: str) -> None:
    rule = alerts()[name]

    assert name.startswith("WhatsApp")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK_URL}/{name}.md"


@pytest.mark.parametrize("name", alerts())
def test_an_alert_selects_only_metrics_that_the_monitor_exports(name: str) -> None:
    metrics = {selected.metric for selected in promql.selected(alerts()[name]["expr"])}

    assert metrics
    assert metrics <= promql.exported_metrics() | PROMETHEUS_OWN | recorded().keys()


@pytest.mark.parametrize("name", recorded())
def test_a_recorded_series_is_named_by_its_level_and_made_of_metrics_that_the_monitor_exports(name: str) -> None:
    assert re.fullmatch(r"whatsapp:[a-z]+:[a-z]+_?[a-z]*[0-9]+[mh]", name)
    assert {one.metric for one in promql.selected(recorded()[name])} <= promql.exported_metrics()


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_a_promtool_case_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    cases = [expected for expected in promtool_cases() if expected["alertname"] == name]

    assert any(expected["exp_alerts"] for expected in cases)
    assert any(not expected["exp_alerts"] for expected in cases)


def test_promtool_cases_name_only_alerts_that_exist() -> None:
    named = {expected["alertname"] for expected in promtool_cases()}

    assert named == alerts().keys()


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("WhatsApp*.md")}  # the others are of our own rules

    assert pages == alerts().keys()


@pytest.mark.parametrize("name", alerts())
def test_a_runbook_says_what_the_alert_means_what_to_do_and_when_it_is_over(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")

    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["What it means", "What to do", "It is over when"]
    assert re.search(r"^1\. .+```sh$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", alerts())
def test_a_runbook_names_only_metrics_that_exist_and_links_only_to_pages_that_exist(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")

    exported = promql.exported_metrics()
    families = {re.sub(r"_(bucket|total)$", "", metric) for metric in exported}
    queries = re.findall(r"```promql\n(.*?)\n *```", text, re.DOTALL)
    selected = [one for query in queries for line in query.splitlines() for one in promql.selected(line)]
    named = set(re.findall(r"`(whatsapp_[a-z_]+)", text))

    assert {one.metric for one in selected} <= exported | recorded().keys()
    assert named <= exported | families
    assert all((RUNBOOKS / target).is_file() for target in re.findall(r"\]\((\w+\.md)\)", text))
