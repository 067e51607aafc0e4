"""Panels without a time axis: single numbers and words, bars, and tables."""

from collections.abc import Sequence
from typing import Any

from dashboards.src.drawing import charts, looks, svg, units
from dashboards.src.drawing.answers import Series
from dashboards.src.drawing.charts import Frame, Named
from dashboards.src.drawing.svg import Box

ROW = 20


def stat(panel: dict[str, Any], series: Sequence[Series], frame: Frame, box: Box) -> list[str]:
    """Return one big number or word, or what the panel says where there is none."""
    defaults = panel["fieldConfig"]["defaults"]
    if not series:
        return [_big(defaults["noValue"], svg.FAINT, box)]
    value = series[0].points[-1][1]
    word = looks.mapped(defaults.get("mappings", []), value)
    if word is not None and panel["options"]["colorMode"] == "background":
        return [svg.rectangle(box, word.color, radius=3), _big(word.words, svg.BACKGROUND, box)]
    shapes = []
    color = looks.by_threshold(panel, value)
    if panel["options"]["graphMode"] == "area":
        shapes = charts.spark(series[0].points, frame, box.within(4, box.height * 0.65, 4, 4), color)
    return [*shapes, _big(units.written(value, looks.unit(panel), frame.end, defaults.get("decimals")), color, box)]


def bars(panel: dict[str, Any], named: Sequence[Named], frame: Frame, box: Box) -> list[str]:
    """Return a horizontal bar for each series."""
    shapes = []
    most = max((one.series.points[-1][1] for one in named), default=0.0) or 1.0
    height = min(40.0, (box.height - 12) / max(1, len(named)))
    width = box.width * 0.3
    for row, one in enumerate(named):
        value = one.series.points[-1][1]
        y = box.y + 6 + row * height
        color = looks.series_color(panel, one.name, row)
        length = (box.width - width - 80) * value / most
        shapes.append(svg.text(box.x + 8, y + height / 2 + 4, one.name, width=width - 10))
        shapes.append(svg.rectangle(Box(box.x + width, y + 3, max(1.0, length), height - 6), color, radius=2))
        decimals = panel["fieldConfig"]["defaults"].get("decimals")
        written = units.written(value, looks.unit(panel), frame.end, decimals)
        shapes.append(svg.text(box.x + width + length + 6, y + height / 2 + 4, written, fill=color))
    return shapes


def table(panel: dict[str, Any], answers: Sequence[Sequence[Series]], frame: Frame, box: Box) -> list[str]:
    """Return a table of what its queries answer, joined by their labels, with the panel's headings in their order."""
    organize = next(one["options"] for one in panel["transformations"] if one["id"] == "organize")
    order = organize["indexByName"]
    columns = [name for name in sorted(order, key=order.__getitem__) if name not in organize["excludeByName"]]
    rows = _joined(panel, answers)
    if not rows:
        return [svg.text(box.x + box.width / 2, box.y + box.height / 2, _empty(panel), fill=svg.FAINT, anchor="middle")]
    widths = _widths(columns, organize["renameByName"], rows, box.width - 16)
    shapes = [svg.rectangle(Box(box.x + 8, box.y + ROW, box.width - 16, 1), svg.LINE)]
    for line, row in enumerate([None, *rows[: int(box.height / ROW) - 1]]):
        x = box.x + 8
        for column in columns:
            heading = organize["renameByName"][column]
            words = heading if row is None else _cell(panel, heading, row.get(column, ""), frame)
            shade = svg.COLORS["blue"] if row is None else svg.TEXT
            shapes.append(svg.text(x, box.y + ROW * (line + 1) - 6, words, fill=shade, width=widths[column] - 6))
            x += widths[column]
    return shapes


def _joined(panel: dict[str, Any], answers: Sequence[Sequence[Series]]) -> list[dict[str, str | float]]:
    """Return the rows: labels and values, those of several queries in columns of their own."""
    rows: dict[tuple[tuple[str, str], ...], dict[str, str | float]] = {}
    for target, series in zip(panel["targets"], answers, strict=True):
        name = "Value" if len(answers) == 1 else f"Value #{target['refId']}"
        for one in series:
            row = rows.setdefault(tuple(sorted(one.labels.items())), dict(one.labels))
            row[name] = one.points[-1][1]
    return list(rows.values())


def _cell(panel: dict[str, Any], heading: str, value: str | float, frame: Frame) -> str:
    if isinstance(value, str):
        return value
    word = looks.mapped(looks.overridden(panel, heading, "mappings") or [], value)
    if word is not None:
        return word.words
    return units.written(value, looks.overridden(panel, heading, "unit") or looks.unit(panel), frame.end)


def _widths(
    columns: Sequence[str], headings: dict[str, str], rows: Sequence[dict[str, str | float]], width: float
) -> dict[str, float]:
    """Return how wide each column is: as much of the whole as its longest text."""
    lengths = {
        column: max(len(headings[column]), *(len(one) if isinstance(one := row.get(column, ""), str) else 8
                                             for row in rows)) + 2
        for column in columns
    }  # fmt: skip
    return {column: width * length / sum(lengths.values()) for column, length in lengths.items()}


def _empty(panel: dict[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"]["noValue"])


def _big(words: str, fill: str, box: Box) -> str:
    size = min(30.0, box.height * 0.5, box.width / (max(4, len(words)) * svg.WIDTH_OF_A_LETTER) * 0.9)
    return svg.text(
        box.x + box.width / 2, box.y + box.height / 2 + size / 3, words, size=size, fill=fill, anchor="middle"
    )
