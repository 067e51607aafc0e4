"""Runbooks of the shipped rules: each has one, with steps, commands that exist and queries that can be asked."""

import re
import shlex
from pathlib import Path

import click
import pytest

from monitor import rule_files
from monitor.cli import main
from monitor.rules import Rule
from tests import promql
from tests.test_dashboards import panels

RUNBOOKS = Path(__file__).parents[1] / "docs" / "runbooks"
RULES = Path(__file__).parents[1] / "rules" / "monitor"
SHIPPED = {
    rule.name: rule
    for name in ("core.yml", "extra.yml")
    for rule in rule_files.load([(name, (RULES / name).read_bytes())]).rules
}


def page(name: str) -> str:
    return (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")


def codes(name: str) -> list[str]:
    """Return what stands in backquotes."""
    return re.findall(r"`([^`]+)`", page(name))


@pytest.mark.parametrize("rule", SHIPPED.values(), ids=lambda rule: rule.name)
def test_a_shipped_rule_has_a_runbook_with_steps_and_a_panel(rule: Rule) -> None:
    text = page(rule.name)

    assert text.startswith(f"# {rule.name}\n\n*{rule.summary}.*\n")
    assert re.findall(r"^(\d+)\. ", text, re.MULTILINE)[:3] == ["1", "2", "3"]
    assert "**How it ends.**" in text
    assert rule.runbook.endswith(f"/docs/runbooks/{rule.name}.md")
    for action in rule.actions:
        assert f"`{next(iter(action.model_fields_set))}`" in text
    assert panels()[rule.name]["links"][0]["url"] == rule.runbook


@pytest.mark.parametrize("name", SHIPPED)
def test_a_runbook_s_commands_exist(name: str) -> None:
    for code in codes(name):
        words = shlex.split(code)
        if words[:1] != ["whatsapp-monitor"]:
            continue
        command: click.Command = main
        for word in words[1:]:
            if not isinstance(command, click.Group) or word not in command.commands:
                break
            command = command.commands[word]
        options = {option for one in command.params for option in one.opts}
        assert command is not main, code
        assert {word for word in words if word.startswith("--")} <= options, code


@pytest.mark.parametrize("name", SHIPPED)
def test_a_runbook_s_queries_are_about_metrics_that_exist(name: str) -> None:
    for code in codes(name):
        if re.match(r"whatsapp_[a-z_]+$", code) or "(whatsapp_" in code:
            assert {one.metric for one in promql.selected(code)} <= promql.exported_metrics(), code
