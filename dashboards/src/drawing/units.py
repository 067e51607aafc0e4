"""Numbers as Grafana would write them, by the unit of the panel."""

import math
from datetime import UTC, datetime

PER_SECOND = {"mps": "msg/s", "reqps": "req/s", "eps": "ev/s"}
TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def written(value: float, unit: str, now: float, decimals: int | None = None) -> str:
    """Return a number with its unit; `now` is what dates are told from."""
    value = value if decimals is None else round(value, decimals)
    if math.isinf(value):
        return "no limit" if unit == "short" else "∞"
    match unit:
        case "percentunit":
            return f"{_plain(100 * value)} %"
        case "s":
            return _seconds(value)
        case "bytes":
            return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB"))
        case "cpm":
            return f"{_plain(value)}/min"
        case "dateTimeFromNow":
            return f"{_seconds(max(0.0, now - value / 1000))} ago"
        case "dateTimeAsIso":
            return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        case "short":
            return _scaled(value, 1000.0, ("", "K", "M"))
        case _:
            return " ".join(part for part in (_plain(value), PER_SECOND.get(unit, "")) if part)


def _seconds(value: float) -> str:
    for size, name in TIMES:
        if value >= size:
            return f"{_plain(value / size)} {name}"
    return f"{_plain(1000 * value)} ms" if value else "0 s"


def _scaled(value: float, base: float, names: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= base and power < len(names) - 1:
        value, power = value / base, power + 1
    return f"{_plain(value)} {names[power]}".strip()


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
