"""`rules`: check rules, test them, explain what they say of an event, and try them on the journal."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import click

from monitor import document, rule_checks, rule_files, rule_tests
from monitor.cli import junit, mistakes, output, proof
from monitor.document import Mistaken
from monitor.rule_coverage import Coverage
from monitor.sandbox import Sandbox

FAILED, WRONG = 1, 2
_files = click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def rules() -> None:
    """Check rules and prove them before they are trusted."""


@rules.command()
@_files
@click.option("--fatal-warnings", is_flag=True, help="Exit with 1 where there are warnings.")
@click.option(
    "--against",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also say how FILES would stop less than these files do; may be given several times.",
)
@output.json_option
def check(files: tuple[Path, ...], fatal_warnings: bool, against: tuple[Path, ...], as_json: bool) -> None:
    """Check rules FILES together, in their order; every mistake with its file, line and column."""
    try:
        with Sandbox() as sandbox:
            found = rule_files.read(((str(file), document.content(file)) for file in files), sandbox.read)
            before = rule_files.load(((str(file), document.content(file)) for file in against), sandbox.read)
    except Mistaken as error:
        mistakes.end(error)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    loosened = list(rule_checks.loosened(before, found.rule_set)) if against else []
    for one in loosened:
        click.echo(f"loosened: {one}", err=True)
    rules = found.rule_set
    told = {"rules": len(rules.rules), "hash": rules.hash, "warnings": list(map(str, found.warnings))}
    output.say(
        {**told, "loosened": list(map(str, loosened))}, as_json, f"{len(rules.rules)} rules found, hash {rules.hash}"
    )
    if loosened or (fatal_warnings and found.warnings):
        sys.exit(FAILED)


@rules.command()
@_files
@click.option("--run", "only", metavar="TEXT", default="", help="Run only the tests whose name holds TEXT.")
@click.option("--junit", "junit_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML here.")
@click.option("--coverage", "is_coverage", is_flag=True, help="Say which rules and conditions the tests leave untried.")
@output.json_option
def test(files: tuple[Path, ...], only: str, junit_file: Path | None, is_coverage: bool, as_json: bool) -> None:
    """Run the tests in FILES: events in; expected firings, actions, pauses, flags, alerts and gate verdicts out."""
    results = []
    for file in files:
        try:
            result = rule_tests.run(file, only)
        except Mistaken as error:
            mistakes.end(error)
        results.append(result)
        if as_json:
            continue
        click.echo(f"Unit Testing: {file}")
        for failure in result.failures:
            click.echo(f"  FAILED: {failure.test}")
            for difference in failure.differences:
                click.echo(f"    {difference}")
        if not result.failures:
            click.echo(f"  SUCCESS: {len(result.outcomes)} tests")
        if is_coverage:
            _print_coverage(result.coverage)
    if as_json:
        click.echo(json.dumps([rule_tests.described(result) for result in results], indent=2))
    if junit_file is not None:
        try:
            junit_file.write_bytes(junit.xml(results))
        except OSError as error:
            click.echo(f"whatsapp-monitor: {junit_file} can't be written: {error.strerror}", err=True)
            sys.exit(FAILED)
    if any(result.failures for result in results):
        sys.exit(FAILED)


@rules.command()
def schema() -> None:
    """Print the JSON Schema of rules files, for editors."""
    with suppress(BrokenPipeError):
        click.echo(json.dumps(rule_files.json_schema(), indent=2))


rules.add_command(proof.explain)
rules.add_command(proof.backtest)


def _print_coverage(found: Coverage) -> None:
    seen = found.conditions - len({*found.unheld, *found.unfailed})
    click.echo(f"  Rules that fired: {found.rules - len(found.unfired)} of {found.rules}")
    for name in found.unfired:
        click.echo(f"    never fired: {name}")
    click.echo(f"  Tests of facts seen both to hold and to fail: {seen} of {found.conditions}")
    for name in found.unheld:
        click.echo(f"    never held: {name}")
    for name in found.unfailed:
        click.echo(f"    never failed: {name}")
