"""Panels with a time axis: lines, stacked bars, and bands of states."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dashboards.src.drawing import looks, svg, units
from dashboards.src.drawing.answers import Series
from dashboards.src.drawing.svg import Box

LEFT, BOTTOM, LEGEND = 66, 16, 16
TICKS = 4


class Named(NamedTuple):
    """A series with the name that its panel gives it."""

    name: str
    series: Series


class Frame(NamedTuple):
    """The time range, and what is marked in it: times with their colours."""

    start: float
    end: float
    marks: Sequence[tuple[float, str]]


def lines(
    panel: dict[str, Any], named: Sequence[Named], frame: Frame, box: Box, dots: Sequence[tuple[float, float]]
) -> list[str]:
    """Return lines over time, or stacked bars where the panel stacks, with their legend; `dots` are exemplars."""
    custom = panel["fieldConfig"]["defaults"]["custom"]
    is_stacked = custom.get("stacking", {}).get("mode") == "normal"
    field = box.within(LEFT, 6, 6, BOTTOM + LEGEND * _legend_lines(named, box))
    tops = _stacked(named) if is_stacked else [one.series.points for one in named]
    highest = max([value for points in tops for _, value in points] + [value for _, value in dots], default=0.0)
    top = highest * 1.05 or 1.0
    shapes = [*_grid(panel, frame, field, top), *_marks(frame, field)]
    colors = [looks.series_color(panel, one.name, place) for place, one in enumerate(named)]
    for points, color in reversed(list(zip(tops, colors, strict=True))):
        if is_stacked:
            shapes += _columns(points, frame, field, top, color)
        else:
            shapes += [svg.polyline([_place(point, frame, field, top) for point in run], color) for run in runs(points)]
    shapes += [svg.dot(*_place(point, frame, field, top), svg.COLORS["blue"]) for point in dots]
    return shapes + _legend(named, colors, box)


def timeline(panel: dict[str, Any], named: Sequence[Named], frame: Frame, box: Box) -> list[str]:
    """Return a band for each series, in the colours of its states."""
    mappings = panel["fieldConfig"]["defaults"]["mappings"]
    width = min(box.width * 0.35, 160)
    field = box.within(width, 6, 6, BOTTOM + LEGEND)
    height = field.height / max(1, len(named))
    shapes = _hours(frame, field)
    for row, one in enumerate(named):
        y = field.y + row * height
        shapes.append(svg.text(box.x + 8, y + height / 2 + 4, one.name, width=width - 12, fill=svg.FAINT))
        for since, until, value in _bands(one.series.points):
            left, right = _x(since, frame, field), _x(min(until, frame.end), frame, field)
            state = looks.mapped(mappings, value)
            band = Box(left, y + height * 0.1, right - left, height * 0.8)
            shapes.append(svg.rectangle(band, state.color if state else svg.FAINT))
    states = [looks.Shown(one["text"], svg.color(one["color"])) for one in mappings[0]["options"].values()]
    keys = [Named(state.words, Series({}, [])) for state in states]
    return shapes + _marks(frame, field) + _legend(keys, [state.color for state in states], box)


def spark(points: Sequence[tuple[float, float]], frame: Frame, box: Box, color: str) -> list[str]:
    """Return the course of a number as a thin line at the bottom of its panel."""
    top = max((value for _, value in points), default=0.0) or 1.0
    return [svg.polyline([_place(point, frame, box, top) for point in points], color, width=1)]


def runs(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Return the points in runs without a gap: a line across one would say what nobody knows."""
    step, found = _step(points), list[list[tuple[float, float]]]()
    for point in points:
        if not found or point[0] - found[-1][-1][0] > 1.5 * step:
            found.append([])
        found[-1].append(point)
    return found


def _bands(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """Return from when to when each value lasted."""
    step = _step(points)
    found = []
    for run in runs(points):
        for value, same in itertools.groupby(run, key=lambda point: point[1]):
            times = [at for at, _ in same]
            found.append((times[0], times[-1] + step, value))
    return found


def _stacked(named: Sequence[Named]) -> list[list[tuple[float, float]]]:
    """Return each series on top of those before it."""
    heights: dict[float, float] = {}
    tops = []
    for one in named:
        points = []
        for at, value in one.series.points:
            heights[at] = heights.get(at, 0.0) + value
            points.append((at, heights[at]))
        tops.append(points)
    return tops


def _columns(points: Sequence[tuple[float, float]], frame: Frame, field: Box, top: float, color: str) -> list[str]:
    width = max(1.0, _step(points) / (frame.end - frame.start) * field.width * 0.8)
    shapes = []
    for point in points:
        x, y = _place(point, frame, field, top)
        if point[1] > 0:
            shapes.append(svg.rectangle(Box(x - width / 2, y, width, field.y + field.height - y), color))
    return shapes


def _grid(panel: dict[str, Any], frame: Frame, field: Box, top: float) -> list[str]:
    shapes = _hours(frame, field)
    for tick in range(TICKS):
        value = top * tick / (TICKS - 1)
        y = field.y + field.height * (1 - tick / (TICKS - 1))
        shapes.append(svg.rectangle(Box(field.x, y, field.width, 1), svg.LINE))
        written = units.written(value, looks.unit(panel), frame.end)
        shapes.append(svg.text(field.x - 6, y + 4, written, size=10, fill=svg.FAINT, anchor="end"))
    return shapes


def _hours(frame: Frame, field: Box) -> list[str]:
    shapes = []
    for place in range(3):
        at = frame.start + (frame.end - frame.start) * (place + 0.5) / 3
        hour = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
        y = field.y + field.height + 12
        shapes.append(svg.text(_x(at, frame, field), y, hour, size=10, fill=svg.FAINT, anchor="middle"))
    return shapes


def _marks(frame: Frame, field: Box) -> list[str]:
    return [
        svg.dashed(_x(at, frame, field), field.y, field.y + field.height, svg.color(color)) for at, color in frame.marks
    ]


def _legend(named: Sequence[Named], colors: Sequence[str], box: Box) -> list[str]:
    shapes = []
    x, y = box.x + 10, box.y + box.height - LEGEND * (_legend_lines(named, box) - 1) - 6
    for one, color in zip(named, colors, strict=True):
        width = _key_width(one.name)
        if x > box.x + 10 and x + width > box.x + box.width:
            x, y = box.x + 10, y + LEGEND
        shapes += [svg.rectangle(Box(x, y - 6, 10, 3), color), svg.text(x + 14, y, one.name, size=10)]
        x += width
    return shapes


def _legend_lines(named: Sequence[Named], box: Box) -> int:
    lines, x = 1, 10.0
    for one in named:
        width = _key_width(one.name)
        if x > 10 and x + width > box.width:
            lines, x = lines + 1, 10.0
        x += width
    return lines


def _key_width(name: str) -> float:
    return 26 + len(name) * 10 * svg.WIDTH_OF_A_LETTER


def _place(point: tuple[float, float], frame: Frame, field: Box, top: float) -> tuple[float, float]:
    return _x(point[0], frame, field), field.y + field.height * (1 - min(1.0, max(0.0, point[1] / top)))


def _x(at: float, frame: Frame, field: Box) -> float:
    return field.x + field.width * (at - frame.start) / (frame.end - frame.start)


def _step(points: Sequence[tuple[float, float]]) -> float:
    return min((second[0] - first[0] for first, second in itertools.pairwise(points)), default=1.0)
