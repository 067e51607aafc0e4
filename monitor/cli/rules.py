"""`rules check` and `rules test`."""

import json
import sys
from pathlib import Path

import click

from monitor import rule_tests
from monitor import rules as rule_files
from monitor.document import Mistaken

FAILED, WRONG = 1, 2
_files = click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def rules() -> None:
    """Check rules and prove them before they are trusted."""


@rules.command()
@_files
def check(files: tuple[Path, ...]) -> None:
    """Check rules FILES; every mistake with its file, line and column."""
    try:
        rule_set = rule_files.load((str(file), file.read_bytes()) for file in files)
    except Mistaken as error:
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        sys.exit(WRONG)
    click.echo(f"{len(rule_set.rules)} rules found, hash {rule_set.hash}")


@rules.command()
@_files
def test(files: tuple[Path, ...]) -> None:
    """Run the tests in FILES: events in; expected pauses, flags, resends, alerts and gate verdicts out."""
    is_failed = False
    for file in files:
        click.echo(f"Unit Testing: {file}")
        try:
            count, failures = rule_tests.run(file)
        except Mistaken as error:
            for mistake in error.mistakes:
                click.echo(str(mistake), err=True)
            sys.exit(WRONG)
        for failure in failures:
            click.echo(f"  FAILED: {failure.test}")
            for difference in failure.differences:
                click.echo(f"    {difference}")
        is_failed = is_failed or bool(failures)
        if not failures:
            click.echo(f"  SUCCESS: {count} tests")
    if is_failed:
        sys.exit(FAILED)


@rules.command()
def schema() -> None:
    """Print the JSON Schema of rules files, for editors."""
    click.echo(json.dumps(rule_files.json_schema(), indent=2))
