"""The command line: exit codes, and mistakes that editors can jump to."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor import __version__
from monitor.cli import main

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
    assert said.startswith("3 rules found")


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


def test_a_sidecar_that_does_not_answer_is_exit_1() -> None:
    code, said = run("pauses", "list", "--url", "http://127.0.0.1:9")

    assert code == 1
    assert "does not answer" in said


def test_a_write_needs_a_reason() -> None:
    code, said = run("pauses", "add", "--scope", "all")

    assert code == 2
    assert "--reason" in said
