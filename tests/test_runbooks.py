"""Runbooks: one for each shipped rule, with steps to follow, commands that exist and queries that can be asked."""

import inspect
import re
import shlex
from pathlib import Path

import click
import pytest

from monitor import reloads, rule_files
from monitor.cli import main
from monitor.rules import SHADOW, Rule
from tests import boards, promql

ROOT = Path(__file__).parents[1]
RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = [(name, (ROOT / "rules" / "monitor" / name).read_bytes()) for name in ("core.yml", "extra.yml")]
SHIPPED = {rule.name: rule for rule in rule_files.load(FILES).rules}
PAGES = sorted(page.stem for page in RUNBOOKS.glob("*.md"))
STEPS = ["Look", "Decide", "Mend", "End it", "Adjust it"]
ENDS = {
    "pause": "`whatsapp-monitor pauses resume ID --actor NAME --reason TEXT`",
    "throttle": "`whatsapp-monitor pauses resume ID --actor NAME --reason TEXT`",
    "flag": "`whatsapp-monitor flags resolve ID --actor NAME --reason TEXT`",
}


def page(name: str) -> str:
    """Return a runbook's text."""
    return (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")


def fenced(name: str, language: str) -> list[str]:
    """Return the lines of a runbook's blocks of that language."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)\n *```", page(name), re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


def spans(name: str) -> list[str]:
    """Return what stands in backquotes within a runbook's sentences."""
    return re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page(name), flags=re.DOTALL))


def commands(name: str) -> list[str]:
    """Return the commands of ours that a runbook tells to run."""
    return [one for one in [*fenced(name, "sh"), *spans(name)] if one.startswith("whatsapp-monitor ")]


def actions(rule: Rule) -> set[str]:
    """Return the names of a rule's actions."""
    return {name for action in rule.actions for name in action.model_fields_set}


def parsed(line: str) -> None:
    """Read a command line as click does, without running it; raises click.UsageError for what can't be read."""
    command: click.Command = main
    words = shlex.split(line, comments=True)[1:]
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    with command.make_context(line, list(words)) as context:
        _, left, _ = command.make_parser(context).parse_args(list(words))
    if isinstance(command, click.Group) and left:
        raise click.UsageError(f"{line}: there is no {left[0]}")


def overridden(override: str) -> dict[str, Rule]:
    """Return the rules in force where a file of somebody's own says that."""
    return {rule.name: rule for rule in rule_files.load([*FILES, ("own.yml", override.encode())]).rules}


def test_every_shipped_rule_has_a_runbook_and_every_runbook_a_rule_or_an_alert() -> None:
    pages = {name for name in PAGES if not name.startswith("WhatsApp")}  # those are of Prometheus' alerts

    assert pages == SHIPPED.keys()


@pytest.mark.parametrize("rule", SHIPPED.values(), ids=lambda rule: rule.name)
def test_a_runbook_names_its_rule_and_what_that_does_and_leads_through_five_steps(rule: Rule) -> None:
    text = page(rule.name)

    assert text.startswith(f"# {rule.name}\n\n*{rule.summary}.*\n")
    assert rule.runbook.endswith(f"/docs/runbooks/{rule.name}.md")
    assert actions(rule) <= set(spans(rule.name))
    assert re.findall(r"^(\d)\. \*\*(.+?)\.\*\* ", text, re.MULTILINE) == [
        (str(number), step) for number, step in enumerate(STEPS, start=1)
    ]
    assert fenced(rule.name, "sh")
    assert fenced(rule.name, "promql")


@pytest.mark.parametrize("rule", SHIPPED.values(), ids=lambda rule: rule.name)
def test_a_runbook_says_how_what_stands_is_ended(rule: Rule) -> None:
    wanted = {ENDS[action] for action in actions(rule) & ENDS.keys()}

    assert {end for end in ENDS.values() if end in page(rule.name)} == wanted


@pytest.mark.parametrize("rule", SHIPPED.values(), ids=lambda rule: rule.name)
def test_a_runbook_s_overrides_are_right_and_change_its_rule(rule: Rule) -> None:
    found = [overridden(span)[rule.name] for span in spans(rule.name) if span.startswith("override:")]

    assert found
    assert all(one != rule for one in found)
    assert (rule.mode != SHADOW) or f"override: [{{name: {rule.name}, mode: enforce}}]" in spans(rule.name)


@pytest.mark.parametrize("name", PAGES)
def test_a_runbook_s_commands_can_be_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    for line in commands(name):
        parsed(line)

    assert commands(name) or name.startswith("WhatsApp")


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("WhatsApp")])
def test_an_alert_s_runbook_names_no_file_that_stands_elsewhere_in_the_image(name: str) -> None:
    assert not [line for line in commands(name) if ".yml" in line]


def test_the_runbook_of_a_refused_reload_knows_why_one_is_refused() -> None:
    text = page("WhatsAppMonitorReloadFailed")
    fixed = re.findall(r'^        "([a-z_.]+)": \(', inspect.getsource(reloads), re.MULTILINE)

    assert "metrics.series_most" in fixed
    assert [one for one in fixed if f"`{one}`" not in text] == []
    assert "--acknowledge-loosening" in text


@pytest.mark.parametrize(
    "line",
    [
        "whatsapp-monitor pauses undo ID",
        "whatsapp-monitor flags resolve ID --why TEXT",
        "whatsapp-monitor pauses resume ID --actor NAME",
        "whatsapp-monitor explain code N",
    ],
)
def test_a_command_that_cannot_be_run_would_be_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parsed(line)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_runbook_s_queries_can_be_asked_and_are_about_metrics_that_exist(name: str) -> None:
    selected = [one for query in fenced(name, "promql") for one in promql.selected(query)]

    named = {span.split("{")[0] for span in spans(name) if span.startswith("whatsapp_")}

    assert {one.metric for one in selected} | named <= promql.exported_metrics()


@pytest.mark.parametrize("name", PAGES)
def test_a_runbook_s_links_lead_to_pages_that_exist(name: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", page(name))

    assert all((RUNBOOKS / link).is_file() for link in links)


@pytest.mark.parametrize("rule", SHIPPED.values(), ids=lambda rule: rule.name)
def test_a_shipped_rule_has_a_panel_that_leads_to_its_runbook(rule: Rule) -> None:
    (panel,) = [one.json for one in boards.panels() if (one.board, one.title) == ("rules", rule.name)]

    assert panel["description"].startswith(f"{rule.summary}.")
    assert [link["url"] for link in panel["links"]] == [rule.runbook]
    assert all(f'rule="{rule.name}"' in target["expr"] for target in panel["targets"])
