"""Time intervals in the form of Alertmanager: times, weekdays, days, months and years in a place, or two instants."""

import calendar
import difflib
import functools
import math
import re
import zoneinfo
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import pydantic

ENTRIES_MOST = 100
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = tuple(name.lower() for name in calendar.month_name[1:])
_DAY_MINUTES = 24 * 60
_LATEST = 253_402_214_400.0  # the last day of the year 9999; datetime ends there
_LONGEST_MONTH = 31
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII
)  # RFC 3339; datetime.fromisoformat reads more, such as week dates and offsets with seconds
_TEXT = pydantic.WithJsonSchema({"type": "string"})
_ENTRY = pydantic.WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
_Range = tuple[int, int]

_Minute = Annotated[int, pydantic.BeforeValidator(lambda given: _minutes(given)), _TEXT]
_Weekdays = Annotated[
    _Range, pydantic.BeforeValidator(lambda given: _range(given, WEEKDAYS, 0, 6, "a weekday")), _ENTRY
]
_Days = Annotated[_Range, pydantic.BeforeValidator(lambda given: _days(given)), _ENTRY]
_Months = Annotated[_Range, pydantic.BeforeValidator(lambda given: _range(given, MONTHS, 1, 12, "a month")), _ENTRY]
_Years = Annotated[_Range, pydantic.BeforeValidator(lambda given: _range(given, (), 1970, 9999, "a year")), _ENTRY]
_Instant = Annotated[float, pydantic.BeforeValidator(lambda given: _instant(given)), _TEXT]
_Location = Annotated[str, pydantic.AfterValidator(lambda given: _place(given))]
_Bounds = pydantic.Field(min_length=1, max_length=ENTRIES_MOST)


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class TimesSpec(_Strict):
    """A time of day from `start_time` up to `end_time`, which may be 24:00."""

    start_time: _Minute
    end_time: _Minute

    @pydantic.model_validator(mode="after")
    def _is_forward(self) -> "TimesSpec":
        if self.start_time >= self.end_time:
            raise ValueError("start_time must be before end_time; write a time over midnight as two")
        return self


class IntervalSpec(_Strict):
    """When something holds: all the keys that are given; or an instant `from` which and one up `to` which."""

    times: Annotated[list[TimesSpec], _Bounds] | None = None
    weekdays: Annotated[list[_Weekdays], _Bounds] | None = None
    days_of_month: Annotated[list[_Days], _Bounds] | None = None
    months: Annotated[list[_Months], _Bounds] | None = None
    years: Annotated[list[_Years], _Bounds] | None = None
    location: _Location = "UTC"
    start: _Instant | None = pydantic.Field(default=None, alias="from")
    end: _Instant | None = pydantic.Field(default=None, alias="to")

    @pydantic.model_validator(mode="after")
    def _is_right(self) -> "IntervalSpec":
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if not given - {"location"}:
            raise ValueError("say when: times, weekdays, days_of_month, months, years, or from and to")
        if self.start is None and self.end is None:
            return self
        if self.start is None or self.end is None or len(given) > 2:
            raise ValueError("from and to stand together and without other keys")
        if self.start >= self.end:
            raise ValueError("from must be before to")
        return self


class NamedIntervalSpec(_Strict):
    """Time intervals under a name, by which rules call them; one of them must hold."""

    name: Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    time_intervals: Annotated[list[IntervalSpec], pydantic.Field(min_length=1, max_length=ENTRIES_MOST)]


class Interval(msgspec.Struct, frozen=True):
    """A time interval: ranges with both ends included, times in minutes of the day with the end left out."""

    location: str
    times: tuple[tuple[int, int], ...] = ()
    weekdays: tuple[tuple[int, int], ...] = ()
    days: tuple[tuple[int, int], ...] = ()
    months: tuple[tuple[int, int], ...] = ()
    years: tuple[tuple[int, int], ...] = ()
    start: float = -math.inf
    end: float = math.inf


def compiled(spec: IntervalSpec) -> Interval:
    """Return what a time interval says."""
    return Interval(
        spec.location,
        tuple((one.start_time, one.end_time) for one in spec.times or ()),
        tuple(spec.weekdays or ()),
        tuple(spec.days_of_month or ()),
        tuple(spec.months or ()),
        tuple(spec.years or ()),
        -math.inf if spec.start is None else spec.start,
        math.inf if spec.end is None else spec.end,
    )


def any_holds(intervals: Iterable[Interval], at: float) -> bool:
    """Say whether one of the intervals holds at a time in unix seconds."""
    return any(holds(interval, at) for interval in intervals)


def holds(interval: Interval, at: float) -> bool:
    """Say whether an interval holds at a time in unix seconds, by the clock on the wall of its place."""
    if not (interval.start <= at < interval.end) or not 0 <= at < _LATEST:
        return False
    wall = datetime.fromtimestamp(int(at), _zone(interval.location))
    minute = wall.hour * 60 + wall.minute
    return (
        (not interval.times or any(start <= minute < end for start, end in interval.times))
        and _is_in(wall.isoweekday() % 7, interval.weekdays)
        and _is_in(wall.month, interval.months)
        and _is_in(wall.year, interval.years)
        and (not interval.days or _is_day(wall, interval.days))
    )


def _is_in(value: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return not ranges or any(least <= value <= most for least, most in ranges)


def _is_day(wall: datetime, ranges: Sequence[tuple[int, int]]) -> bool:
    """Count negative days from the end of the month; what the month does not have is cut off."""
    length = calendar.monthrange(wall.year, wall.month)[1]
    for least, most in ranges:
        first = least if least > 0 else length + 1 + least
        last = most if most > 0 else length + 1 + most
        if first <= wall.day <= last:
            return True
    return False


def _minutes(given: Any) -> int:
    text = given if isinstance(given, str) else str(given)[:20]
    hour, _, minute = text.partition(":")
    is_time = len(text) == 5 and len(hour) == 2 and (hour + minute).isascii() and (hour + minute).isdigit()
    total = int(hour) * 60 + int(minute) if is_time else -1
    if not is_time or int(minute) > 59 or total > _DAY_MINUTES:
        raise ValueError(f"not a time of day: {text[:20]!r}; write 09:00, up to 24:00")
    return total


def _days(given: Any) -> _Range:
    least, most = _range(given, (), -_LONGEST_MONTH, _LONGEST_MONTH, "a day of the month")
    if least == 0 or most == 0:
        raise ValueError("days of the month count from 1, or from the end as -1")
    if least < 0 < most:
        raise ValueError(f"{given!r} begins at the end of the month and ends at its start")
    if most < 0 < least and least > _LONGEST_MONTH + 1 + most:
        raise ValueError(f"{given!r} ends before it begins, in every month")
    return least, most


def _range(given: Any, names: Sequence[str], least: int, most: int, what: str) -> _Range:
    text = str(given).lower() if isinstance(given, str | int) else repr(given)
    first, colon, last = text.partition(":")
    start = _value(first, names, least, most, what)
    end = _value(last, names, least, most, what) if colon else start
    if start > end and not start > 0 > end:
        raise ValueError(f"{given!r} ends before it begins; write two")
    return start, end


def _value(text: str, names: Sequence[str], least: int, most: int, what: str) -> int:
    text = text.strip()
    if text in names:
        return names.index(text) + least
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) < 5
    if not is_number or not least <= int(text) <= most or (names and least == 0):
        allowed = ", ".join(names) if names else f"{least} to {most}"
        raise ValueError(f"not {what}: {text[:20]!r}; allowed: {allowed}{_guess(text, names)}")
    return int(text)


def _instant(given: Any) -> float:
    found = _INSTANT.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError(f"not an instant: {str(given)[:40]!r}; write 2026-11-24T01:00:00Z")
    if found[1] is None:
        raise ValueError(f"{given} has no offset from UTC; write 2026-11-24T01:00:00Z")
    try:
        return datetime.fromisoformat(given).timestamp()
    except ValueError:
        raise ValueError(f"not an instant: {given!r}; write 2026-11-24T01:00:00Z") from None


def _place(given: str) -> str:
    try:
        _zone(given)
    except (KeyError, ValueError, OSError):
        guess = _guess(given, sorted(zoneinfo.available_timezones()))
        raise ValueError(f"no place of the time zone database: {given[:60]!r}; write Europe/Berlin{guess}") from None
    return given


def _guess(text: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(text[:60], allowed, n=1)
    return f"; did you mean {near[0]}?" if near else ""


@functools.lru_cache(1_000)
def _zone(location: str) -> ZoneInfo:
    return ZoneInfo(location)
