"""`explain`: what is known of Meta's error codes."""

import json
import sys
from pathlib import Path

import click
import msgspec

from monitor import codes, config, resends
from monitor.cli import mistakes, output
from monitor.codes import Catalogue, Code
from monitor.document import Mistaken

FAILED, WRONG = 1, 2
_config = click.option(
    "--config.file",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="WHATSAPP_MONITOR_CONFIG_FILE",
    help="Take what this configuration says of codes into account.",
)
_RETRY = {
    "never": "never: sending the same again can't work",
    "later": "later: the same message may go through after a while",
    "backoff": "backoff: try again with growing waits",
    "after_fix": "after a fix: something must be changed first",
}


_PAGE = """# Error codes

The {} codes that the catalogue knows, by class. Made by `whatsapp-monitor explain codes --format markdown` from
`monitor/error_codes.yaml`; `whatsapp-monitor explain code N` prints one. What a code *hits* is what a failure of its
kind concerns; *again* says whether sending once more makes sense, and of messages that are listed to be sent again, how
often and when. Add codes, or say something else of a known one, under `codes` in the [configuration](configuration.md).
"""


@click.group()
def explain() -> None:
    """Explain what Meta says."""


@explain.command()
@click.argument("number", type=int)
@output.json_option
@_config
def code(number: int, as_json: bool, config_file: Path | None) -> None:
    """Explain the error code NUMBER."""
    found = codes.find(_catalogue(config_file), number)
    if found is None:
        click.echo(
            f"{number} is not in the catalogue. It is counted as `other` and kept in the journal; a configuration can "
            "name it under `codes`.",
            err=True,
        )
        sys.exit(FAILED)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
        return
    click.echo(f"{number}  {found.title}")
    for name, value in _lines(found):
        click.echo(f"  {name:<10} {value}")


@explain.command("codes")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "json"]),
    default="table",
    show_default=True,
    help="Form.",
)
@output.json_option
@_config
def all_codes(form: str, as_json: bool, config_file: Path | None) -> None:
    """List all known codes."""
    known = _catalogue(config_file)
    if as_json or form == "json":
        click.echo(json.dumps([msgspec.to_builtins(one) for one in known.codes.values()], indent=2))
    elif form == "markdown":
        click.echo(markdown(known), nl=False)
    else:
        for one in known.codes.values():
            click.echo(f"{one.code:>8}  {one.kind:<13} {one.hits:<13} {one.retryable:<10} {one.title}")


def markdown(known: Catalogue) -> str:
    """Return the page of all codes, by class."""
    lines = [_PAGE.format(len(known.codes)).rstrip()]
    for kind in sorted({one.kind for one in known.codes.values()}):
        lines += ["", f"## {kind}", "", "| code | title | hits | again | what happened | what to do |"]
        lines += ["|---|---|---|---|---|---|"]
        for one in (one for one in known.codes.values() if one.kind == kind):
            again = one.retryable.replace("_", " ") + (f", {resends.schedule(one.resend)}" if one.resend else "")
            cells = (str(one.code), one.title, one.hits.replace("_", " "), again, one.meaning, one.advice)
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _lines(found: Code) -> list[tuple[str, str]]:
    lines = [
        ("means", found.meaning),
        ("do", found.advice),
        ("class", found.kind),
        ("hits", found.hits),
        ("retry", _RETRY.get(found.retryable, found.retryable)),
        ("resend", resends.schedule(found.resend)),
        ("seen in", ", ".join(found.seen_in)),
    ]
    return [(name, value) for name, value in lines if value]


def _catalogue(config_file: Path | None) -> Catalogue:
    if config_file is None:
        return codes.catalogue()
    try:
        return config.load(config_file).catalogue()
    except Mistaken as error:
        mistakes.end(error)
