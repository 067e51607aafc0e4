"""How commands print: cut and coloured on a terminal, whole and plain elsewhere, and as JSON where asked."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from monitor.cli import main, output

ROOT = Path(__file__).parents[1]
CORE = ROOT / "rules" / "monitor" / "core.yml"
OWN_FORM = {
    "serve", "simulate", "completion", "campaigns unengaged", "incidents export", "outbox show", "rules schema",
}  # fmt: skip
PAUSE = {"id": "p1", "stage": "closed", "reason": "r" * 200, "since": 1_700_000_000, "codes": [368, 506], "until": None}
COLUMNS = ("id", "stage", "reason", "since", "codes", "until")


def leaves(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its words."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, f"{path} {name}".strip())


COMMANDS = dict(leaves(main))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_json_or_a_form_of_its_own_and_is_documented(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}

    assert ("--json" in options) != (name in OWN_FORM)
    assert f"`{name}`" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert COMMANDS[name].help


def test_a_table_is_whole_elsewhere_than_on_a_terminal() -> None:
    title, line = (click.unstyle(one) for one in output.table([PAUSE], COLUMNS, is_cut=False))

    assert title.split() == ["ID", "STAGE", "REASON", "SINCE", "CODES", "UNTIL"]
    assert line.split() == ["p1", "closed", "r" * 200, "2023-11-14", "22:13:20Z", "368,506", "-"]


@pytest.mark.parametrize(("at", "shown"), [(4e11, "9999-12-31 23:59:59Z"), (-1e12, "1970-01-01 00:00:00Z")])
def test_a_time_beyond_all_calendars_is_shown_as_their_last_or_first(at: float, shown: str) -> None:
    _, line = output.table([{"until": at}], ("until",), is_cut=False)

    assert line == shown


def test_on_a_terminal_a_cell_is_cut_and_columns_stay_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [
        click.unstyle(one) for one in output.table([PAUSE, {**PAUSE, "stage": "over"}], COLUMNS, is_cut=True)
    ]  # fmt: skip

    assert "r" * 39 + "…" in lines[1]
    assert len({line.index("2023") for line in lines[1:]}) == 1


@pytest.mark.parametrize(("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_and_can_be_switched_off(
    tmp_path: Path, environment: dict[str, str], is_coloured: bool
) -> None:
    config = tmp_path / "monitor.yml"
    config.write_text(f"webhook: {{app_secrets: [0123456789abcdef], verify_tokens: [t]}}\nrules: {{files: [{CORE}]}}\n")
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = ["doctor", "--config.file", str(config), "--url", "http://127.0.0.1:9"]

    text = on_a_terminal(command, {**plain, **environment})

    assert "sidecar" in text
    assert ("\x1b[" in text) == is_coloured


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """Return what a command prints to a terminal."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "monitor", *command]
    with subprocess.Popen(program, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment):
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # raised where the other end is closed
            while piece := os.read(ours, 65536):
                text += piece
    os.close(ours)
    return text.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_a_completion(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])

    assert result.exit_code == 0
    assert "_WHATSAPP_MONITOR_COMPLETE" in result.output


def test_the_completion_knows_commands() -> None:
    environment = {
        **os.environ, "COMP_WORDS": "whatsapp-monitor pau", "COMP_CWORD": "1",
        "_WHATSAPP_MONITOR_COMPLETE": "bash_complete",
    }  # fmt: skip
    program = [sys.executable, "-m", "monitor"]
    found = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)

    assert found.stdout.split() == ["plain,pauses"]


def test_json_is_for_programs(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text("rules: [{name: one, match: {code: 368}, actions: [alert]}]\n")

    told = json.loads(CliRunner().invoke(main, ["rules", "check", str(rules), "--json"]).stdout)
    version = json.loads(CliRunner().invoke(main, ["version", "--json"]).stdout)

    assert (told["rules"], told["warnings"], told["loosened"]) == (1, [], [])
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", version["version"])
