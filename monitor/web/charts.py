"""The last hour as small charts: a line of text and an SVG for everybody, and the numbers for a browser to draw."""

from typing import Any

import msgspec

from monitor.hour import MINUTES, REFUSED, Minutes

WIDTH, HEIGHT = 300, 60
WINDOWS = (("5 min", 5), ("15 min", 15), ("hour", MINUTES))
_CHARTS = (
    ("Statuses of what was sent", ("sent", "delivered", "read")),
    ("Failed", ("failed",)),
    ("Received from customers", ("received",)),
    ("Refused by the gate", (REFUSED,)),
)
_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, frozen=True):
    """One series: its sums over WINDOWS, and its points for a polyline."""

    name: str
    sums: tuple[int, ...]
    points: str


class Chart(msgspec.Struct, frozen=True):
    """One small chart; `data` is what uPlot draws, `most` the highest minute."""

    title: str
    lines: tuple[Line, ...]
    most: int
    data: str


def values(minutes: Minutes) -> dict[str, Any]:
    """Return what the part of the page shows."""
    is_whole = minutes.known_since <= minutes.first_at
    return {"charts": of(minutes), "windows": WINDOWS, "since": minutes.known_since, "is_whole": is_whole}


def of(minutes: Minutes) -> tuple[Chart, ...]:
    """Return the charts of an hour; the running minute counts in the sums only, since as a line it would be a fall."""
    return tuple(_chart(title, names, minutes) for title, names in _CHARTS)


def _chart(title: str, names: tuple[str, ...], minutes: Minutes) -> Chart:
    whole = {name: minutes.counts[name][:-1] for name in names}
    most = max(max(counts) for counts in whole.values())
    times = [minutes.first_at + 60 * place for place in range(MINUTES - 1)]
    lines = tuple(
        Line(name, tuple(minutes.total(name, last) for _, last in WINDOWS), _points(counts, most))
        for name, counts in whole.items()
    )
    return Chart(title, lines, most, _encode({"names": names, "series": [times, *whole.values()]}).decode())


def _points(counts: tuple[int, ...], most: int) -> str:
    step = WIDTH / (len(counts) - 1)
    return " ".join(
        f"{place * step:.0f},{HEIGHT - 2 - (HEIGHT - 4) * count / (most or 1):.1f}"
        for place, count in enumerate(counts)
    )
