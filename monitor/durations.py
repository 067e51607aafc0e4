"""Durations as Prometheus writes them (`30s`, `5m`, `1h30m`, `2d`), and rates of messages (`10/s`, `30/m`, `500/h`)."""

import re

LONGEST = "100y"  # of a time that is much further away no date can be shown
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
LONGEST_SECONDS = 100 * _SECONDS["y"]
_WHOLE = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)  # the order of units is Prometheus' own (common/model/time.go)
_UNITS = ("y", "w", "d", "h", "m", "s", "ms")
_DIGITS = {"y": "[0-3]?[0-9]", "w": "[0-9]{1,3}", "d": "[0-9]{1,4}", "h": "[0-9]{1,5}"}  # together below the longest
POSITIVE = "^(?=.*[1-9])" + "".join(f"({_DIGITS.get(unit, '[0-9]{1,6}')}{unit})?" for unit in _UNITS) + "$"
RATES = "^[1-9][0-9]{0,8}([.][0-9]{1,3})?/[smh]$"
"""What JSON Schema says of durations that are longer than none and not too long, and of rates."""
_LONGEST_TEXT = 32
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)/([smh])")


def parse(text: str) -> float:
    """Return the seconds that `text` stands for; raise ValueError naming what is allowed."""
    found = _WHOLE.fullmatch(text) if 0 < len(text) <= _LONGEST_TEXT else None
    if text == "0":
        return 0.0
    if found is None:
        raise ValueError(f"not a duration: {text[:_LONGEST_TEXT]!r}; write it as 30s, 5m, 1h30m or 2d")
    units = zip(found.groups(), _UNITS, strict=True)
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in units if number)
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"longer than {LONGEST}: {text}")
    return seconds


def rate(text: str) -> float:
    """Return the messages a second that `text` stands for; raise ValueError naming what is allowed."""
    found = _RATE.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        raise ValueError("not a rate: write messages a second, minute or hour as 10/s, 30/m or 500/h")
    return float(found[1]) / _SECONDS[found[2]]


def text(seconds: float) -> str:
    """Write seconds in the same form, to the whole second."""
    rest = int(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        number, rest = divmod(rest, int(_SECONDS[unit]))
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
