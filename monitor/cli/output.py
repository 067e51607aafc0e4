"""How commands print: tables for people, JSON for programs, colours and progress only where somebody looks."""

import io
import json
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import click

from monitor import scalars

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
CELL_MOST = 60  # on a terminal; elsewhere nothing is cut
_TIMES = frozenset(
    {"at", "since", "until", "opened_at", "created_at", "not_before", "timestamp", "received_at", "last_at", "ended_at",
     "delivered_at"}
)  # fmt: skip
_COLOURED = frozenset({"state", "stage", "severity", "mode"})
_COLOURS = {
    "red": {"closed", "critical", "failed", "firing", "dead", "open"},
    "yellow": {"half_open", "warning", "pending", "throttled", "trickle", "claimed", "withheld", "skipped"},
    "green": {"ok", "over", "sent", "delivered", "read", "resolved"},
}
_COLOUR_OF = {word: colour for colour, words in _COLOURS.items() for word in words}


def say(answer: Any, as_json: bool, text: str) -> None:
    """Print a sentence, or what was answered as JSON."""
    click.echo(json.dumps(answer, indent=2) if as_json else text)


def show(answer: dict[str, Any], name: str, columns: tuple[str, ...], as_json: bool, nothing: str) -> None:
    """Print the records of an answer as a table, or the whole of it as JSON."""
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    if not answer[name]:
        click.echo(nothing)
        return
    for line in table(answer[name], columns, is_cut=sys.stdout.isatty()):
        click.echo(line)
    if answer.get("next_cursor"):
        click.echo(f"(more: the API's cursor={answer['next_cursor']})")


def table(records: Iterable[dict[str, Any]], columns: tuple[str, ...], *, is_cut: bool) -> list[str]:
    """Return a table's lines; with `is_cut` no cell is longer than a part of the terminal."""
    most = max(12, min(CELL_MOST, shutil.get_terminal_size((200, 24)).columns // 2)) if is_cut else sys.maxsize
    titles = [column.removesuffix("_at").replace("_", " ").upper() or "AT" for column in columns]
    rows = [[_fitting(_cell(column, record.get(column)), most) for column in columns] for record in records]
    widths = [max(len(row[number]) for row in [titles, *rows]) for number in range(len(columns))]
    lines = [click.style(_line(titles, widths), bold=True)]
    for row in rows:
        padded = [
            tinted(cell) + " " * (width - len(cell)) if column in _COLOURED else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def tinted(word: str) -> str:
    """Return a word of a state in its colour; elsewhere than on a terminal click takes it off again."""
    colour = _COLOUR_OF.get(word.lower())
    return click.style(word, fg=colour) if colour else word


def progress(label: str, length: int | None, items: Iterable[Any] | None = None) -> Any:
    """Return click's progress bar on standard error where that is a terminal, and one that shows nothing elsewhere."""
    shown = sys.stderr if sys.stderr.isatty() else io.StringIO()  # elsewhere click would still write the label
    return click.progressbar(items, length=length, label=label, file=shown, show_pos=True)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _fitting(cell: str, most: int) -> str:
    return cell if len(cell) <= most else cell[: most - 1] + "…"


def _cell(column: str, value: Any) -> str:
    if isinstance(value, int | float) and column in _TIMES:
        return scalars.moment(value).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, dict):
        return " ".join(f"{name}={_cell('', inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "-" if value is None or value == "" else str(value)
