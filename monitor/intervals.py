"""Time intervals in the form of Alertmanager: times, weekdays, days, months and years in a place, or two instants."""

import calendar
import functools
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
import pydantic

ENTRIES_MOST = 100
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = tuple(name.lower() for name in calendar.month_name[1:])
_DAY_MINUTES = 24 * 60
_LATEST = 253_402_214_400.0  # the last day of the year 9999; datetime ends there


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class TimesSpec(_Strict):
    """A time of day from `start_time` up to `end_time`, which may be 24:00."""

    start_time: str
    end_time: str

    @pydantic.model_validator(mode="after")
    def _is_forward(self) -> "TimesSpec":
        if _minutes(self.start_time) >= _minutes(self.end_time):
            raise ValueError("start_time must be before end_time; write a time over midnight as two")
        return self


_Entries = Annotated[list[str | int], pydantic.Field(min_length=1, max_length=ENTRIES_MOST)]


class IntervalSpec(_Strict):
    """When something holds: all the keys that are given; or an instant `from` which and one up `to` which."""

    times: Annotated[list[TimesSpec], pydantic.Field(min_length=1, max_length=ENTRIES_MOST)] | None = None
    weekdays: _Entries | None = None
    days_of_month: _Entries | None = None
    months: _Entries | None = None
    years: _Entries | None = None
    location: str = "UTC"
    start: str | None = pydantic.Field(default=None, alias="from")
    end: str | None = pydantic.Field(default=None, alias="to")

    @pydantic.model_validator(mode="after")
    def _is_right(self) -> "IntervalSpec":
        compiled(self)
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
    """Return what a time interval says; raise ValueError where it makes no sense."""
    try:
        ZoneInfo(spec.location)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no place of the time zone database: {spec.location[:60]!r}; write Europe/Berlin") from None
    given = (spec.times, spec.weekdays, spec.days_of_month, spec.months, spec.years, spec.start, spec.end)
    if all(one is None for one in given):
        raise ValueError("say when: times, weekdays, days_of_month, months, years, or from and to")
    start = -math.inf if spec.start is None else _instant(spec.start)
    end = math.inf if spec.end is None else _instant(spec.end)
    if start >= end:
        raise ValueError("from must be before to")
    return Interval(
        spec.location,
        tuple((_minutes(one.start_time), _minutes(one.end_time)) for one in spec.times or ()),
        tuple(_range(one, WEEKDAYS, 0, 6, "a weekday") for one in spec.weekdays or ()),
        tuple(_days(one) for one in spec.days_of_month or ()),
        tuple(_range(one, MONTHS, 1, 12, "a month") for one in spec.months or ()),
        tuple(_range(one, (), 1970, 9999, "a year") for one in spec.years or ()),
        start,
        end,
    )


def any_holds(intervals: Iterable[Interval], at: float) -> bool:
    """Say whether one of the intervals holds at a time in unix seconds."""
    return any(holds(interval, at) for interval in intervals)


def holds(interval: Interval, at: float) -> bool:
    """Say whether an interval holds at a time in unix seconds, by the clock on the wall of its place."""
    if not (interval.start <= at < interval.end) or not 0 <= at < _LATEST:
        return False
    wall = datetime.fromtimestamp(at, _zone(interval.location))
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


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    is_time = len(text) == 5 and len(hour) == 2 and (hour + minute).isascii() and (hour + minute).isdigit()
    total = int(hour) * 60 + int(minute) if is_time else -1
    if not is_time or int(minute) > 59 or total > _DAY_MINUTES:
        raise ValueError(f"not a time of day: {text[:20]!r}; write 09:00, up to 24:00")
    return total


def _days(entry: str | int) -> tuple[int, int]:
    least, most = _range(entry, (), -31, 31, "a day of the month")
    if least == 0 or most == 0:
        raise ValueError("days of the month count from 1, or from the end as -1")
    if least < 0 < most:
        raise ValueError(f"{entry!r} begins at the end of the month and ends at its start")
    return least, most


def _range(entry: str | int, names: Sequence[str], least: int, most: int, what: str) -> tuple[int, int]:
    first, colon, last = str(entry).strip().lower().partition(":")
    found = (_value(first, names, least, most, what), _value(last if colon else first, names, least, most, what))
    if found[0] > found[1] and not found[0] > 0 > found[1]:
        raise ValueError(f"{entry!r} ends before it begins")
    return found


def _value(text: str, names: Sequence[str], least: int, most: int, what: str) -> int:
    if text in names:
        return names.index(text) + least
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) < 5
    if not is_number or not least <= int(text) <= most or (names and least == 0):
        allowed = ", ".join(names) if names else f"{least} to {most}"
        raise ValueError(f"not {what}: {text[:20]!r}; allowed: {allowed}")
    return int(text)


def _instant(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not an instant: {text[:40]!r}; write 2026-11-24T01:00:00Z") from None
    if found.tzinfo is None:
        raise ValueError(f"{text} has no offset from UTC; write 2026-11-24T01:00:00Z")
    return found.astimezone(UTC).timestamp()


@functools.lru_cache(1_000)
def _zone(location: str) -> ZoneInfo:
    return ZoneInfo(location)
