"""Time intervals: what they hold at, on the wall of their place, and what is no interval."""

import calendar
import math
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import intervals
from monitor.intervals import IntervalSpec


def holds(spec: dict[str, Any], wall: str, place: str = "UTC") -> bool:
    at = datetime.fromisoformat(wall).replace(tzinfo=ZoneInfo(place)).timestamp()
    return intervals.holds(intervals.compiled(IntervalSpec.model_validate(spec)), at)


@pytest.mark.parametrize(
    ("spec", "wall", "expected"),
    [
        ({"times": [{"start_time": "09:00", "end_time": "17:00"}]}, "2026-11-23T09:00:00", True),
        ({"times": [{"start_time": "09:00", "end_time": "17:00"}]}, "2026-11-23T16:59:59", True),
        ({"times": [{"start_time": "09:00", "end_time": "17:00"}]}, "2026-11-23T17:00:00", False),
        ({"times": [{"start_time": "22:00", "end_time": "24:00"}]}, "2026-11-23T23:59:59", True),
        ({"weekdays": ["monday:friday"]}, "2026-11-23T00:00:00", True),
        ({"weekdays": ["monday:friday"]}, "2026-11-22T00:00:00", False),
        ({"weekdays": ["sunday", "saturday"]}, "2026-11-22T00:00:00", True),
        ({"days_of_month": ["1:5", "-3:-1"]}, "2028-02-27T00:00:00", True),
        ({"days_of_month": ["-3:-1"]}, "2026-02-25T00:00:00", False),
        ({"days_of_month": ["-3:-1"]}, "2026-02-26T00:00:00", True),
        ({"days_of_month": [31]}, "2026-02-28T00:00:00", False),
        ({"days_of_month": ["29:-3"]}, "2026-01-29T00:00:00", True),
        ({"days_of_month": ["-31:-1"]}, "2026-02-01T00:00:00", True),
        ({"months": ["january:march", "5"]}, "2026-05-01T00:00:00", True),
        ({"months": ["january:march", 5]}, "2026-04-30T00:00:00", False),
        ({"years": ["2026:2027"]}, "2027-12-31T00:00:00", True),
        ({"years": [2026]}, "2027-01-01T00:00:00", False),
        ({"from": "2026-11-24T01:00:00Z", "to": "2026-11-24T03:00:00+01:00"}, "2026-11-24T01:59:59", True),
        ({"from": "2026-11-24T01:00:00Z", "to": "2026-11-24T03:00:00+01:00"}, "2026-11-24T02:00:00", False),
        ({"weekdays": ["monday"], "times": [{"start_time": "09:00", "end_time": "10:00"}]}, "2026-11-24T09:30", False),
    ],
)  # fmt: skip
def test_an_interval_holds_where_all_its_keys_do(spec: dict[str, Any], wall: str, expected: bool) -> None:
    assert holds(spec, wall) == expected


@pytest.mark.parametrize("place", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-07-01"])
def test_the_clock_on_the_wall_counts_when_clocks_change(place: str, day: str) -> None:
    spec = {"times": [{"start_time": "09:00", "end_time": "17:00"}], "location": place}

    assert holds(spec, f"{day}T09:00:00", place)
    assert not holds(spec, f"{day}T08:59:00", place)
    assert not holds(spec, f"{day}T17:00:00", place)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "say when"),
        ({"location": "Europe/Berlin"}, "say when"),
        ({"weekdays": ["mondey"]}, "not a weekday"),
        ({"weekdays": ["friday:monday"]}, "ends before it begins"),
        ({"weekdays": [1]}, "not a weekday"),
        ({"days_of_month": ["0"]}, "count from 1"),
        ({"days_of_month": ["32"]}, "not a day of the month"),
        ({"days_of_month": ["-3:3"]}, "begins at the end"),
        ({"months": ["13"]}, "not a month"),
        ({"years": ["26"]}, "not a year"),
        ({"times": [{"start_time": "17:00", "end_time": "09:00"}]}, "over midnight as two"),
        ({"times": [{"start_time": "9:00", "end_time": "10:00"}]}, "not a time of day"),
        ({"times": [{"start_time": "09:60", "end_time": "24:30"}]}, "not a time of day"),
        ({"weekdays": ["monday"], "location": "Europe/Berlim"}, "no place"),
        ({"weekdays": ["monday"], "location": "../../etc/passwd"}, "no place"),
        ({"from": "2026-11-24T01:00:00"}, "no offset"),
        ({"from": "tomorrow"}, "not an instant"),
        ({"from": "2026-11-24T03:00:00Z", "to": "2026-11-24T01:00:00Z"}, "from must be before to"),
        ({"weekdays": []}, "at least 1"),
        ({"weekdays": ["monday"] * 101}, "at most 100"),
        ({"day": 1}, "not permitted"),
        ({"weekdays": None}, "say when"),
        ({"from": None, "to": None}, "say when"),
        ({"from": "2026-11-24T01:00:00Z", "to": None}, "stand together"),
        ({"from": "2026-11-24T01:00:00Z", "to": "2026-11-24T02:00:00+01:00"}, "from must be before to"),
        ({"times": [{"start_time": "23:00", "end_time": "24:01"}]}, "not a time of day"),
        ({"times": [{"start_time": "09:00", "end_time": "09:00"}]}, "must be before"),
        ({"days_of_month": ["29:-4"]}, "in every month"),
        ({"days_of_month": [[1, 5]]}, "not a day of the month"),
        ({"from": "2026-11-24T01:00:00Z"}, "stand together"),
        ({"to": "2026-11-24T01:00:00Z"}, "stand together"),
        ({"from": "2026-11-24T01:00:00Z", "to": "2026-11-24T03:00:00Z", "weekdays": ["monday"]}, "without other keys"),
        ({"from": "2026-11-24T01:00:00Z", "to": "2026-11-24T03:00:00Z", "location": "UTC"}, "without other keys"),
        ({"from": "2026-W48-2T01:00Z", "to": "2026-11-24T03:00:00Z"}, "not an instant"),
        ({"from": "2026-02-30T01:00:00Z", "to": "2026-11-24T03:00:00Z"}, "not an instant"),
        ({"from": 1795482000, "to": "2026-11-24T03:00:00Z"}, "not an instant"),
        ({"days_of_month": ["20:-20"]}, "in every month"),
        ({"days_of_month": ["\u0663"]}, "not a day of the month"),
        ({"months": [True]}, "not a month"),
        ({"months": [5.0]}, "not a month"),
        ({"weekdays": ["mondey"]}, "did you mean monday"),
        ({"months": ["janaury"]}, "did you mean january"),
        ({"weekdays": ["monday"], "location": "europe/berlin"}, "did you mean Europe/Berlin"),
        ({"weekdays": ["monday"], "location": ""}, "no place"),
        ({"weekdays": ["monday"], "location": "Europe"}, "no place"),
        ({"weekdays": ["monday"], "location": "x\0"}, "no place"),
    ],
)
def test_what_makes_no_sense_is_told(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=told):
        IntervalSpec.model_validate(spec)


def test_each_wrong_entry_is_told_at_its_own_place() -> None:
    spec = {"weekdays": ["monday", "mondey", "tusday"], "months": ["13"], "location": "Europe/Berlim"}

    with pytest.raises(pydantic.ValidationError) as told:
        IntervalSpec.model_validate(spec)

    assert [one["loc"] for one in told.value.errors()] == [
        ("weekdays", 1),
        ("weekdays", 2),
        ("months", 0),
        ("location",),
    ]


@pytest.mark.parametrize(
    ("start", "end"),
    [("0001-01-01T00:00:00+14:00", "2026-11-24T03:00:00Z"), ("2026-11-24T01:00:00Z", "9999-12-31T23:59:59-14:00")],
)
def test_an_instant_at_the_ends_of_the_calendar_overflows_nothing(start: str, end: str) -> None:
    assert holds({"from": start, "to": end}, "2026-11-24T02:00:00")


def test_an_end_is_left_out_to_the_last_fraction_of_a_second() -> None:
    spec = IntervalSpec.model_validate({"times": [{"start_time": "09:00", "end_time": "17:00"}]})
    end = datetime.fromisoformat("2026-11-23T17:00:00Z").timestamp()

    assert intervals.holds(intervals.compiled(spec), math.nextafter(end, 0))
    assert not intervals.holds(intervals.compiled(spec), end)


@pytest.mark.parametrize(
    ("place", "start", "end", "minutes"),
    [
        ("Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T06:00:00Z", 0),
        ("Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T06:00:00Z", 120),
        ("America/New_York", "2026-11-01T04:00:00Z", "2026-11-01T10:00:00Z", 60),
    ],
)
def test_a_time_that_the_clock_skips_or_repeats_holds_never_or_twice(
    place: str, start: str, end: str, minutes: int
) -> None:
    spec = {"times": [{"start_time": "02:00", "end_time": "03:00"}], "location": place}
    interval = intervals.compiled(IntervalSpec.model_validate(spec))
    first, last = (int(datetime.fromisoformat(one).timestamp()) for one in (start, end))

    held = sum(intervals.holds(interval, at) for at in range(first, last, 60))

    assert held == minutes


@pytest.mark.parametrize("at", [-1.0, 1e18, math.nan, math.inf, -math.inf])
def test_a_time_that_is_none_is_in_no_interval(at: float) -> None:
    every_day = intervals.compiled(IntervalSpec.model_validate({"years": ["1970:9999"]}))

    assert not intervals.holds(every_day, at)


@given(st.floats(0, 4e9), st.sampled_from(["Europe/Berlin", "UTC", "America/New_York"]), st.integers(0, 1438))
def test_times_agree_with_the_wall(at: float, place: str, start: int) -> None:
    end = start + 1 + (start * 7) % (1440 - start)
    spec = {
        "times": [{"start_time": f"{start // 60:02}:{start % 60:02}", "end_time": f"{end // 60:02}:{end % 60:02}"}],
        "location": place,
    }
    wall = datetime.fromtimestamp(at, ZoneInfo(place))

    held = intervals.holds(intervals.compiled(IntervalSpec.model_validate(spec)), at)

    assert held == (f"{start // 60:02}:{start % 60:02}" <= wall.strftime("%H:%M") < f"{end // 60:02}:{end % 60:02}")


_WALLS = [
    "2026-03-28T20:00", "2026-10-24T20:00", "2026-03-07T20:00", "2026-10-31T20:00", "2028-02-27T12:00",
    "2100-02-27T12:00",
]  # fmt: skip


def ranges(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most)).map(lambda one: (min(one), max(one)))


def maybe(one: st.SearchStrategy[tuple[int, int]]) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(one, max_size=2)


@given(
    maybe(ranges(0, 1440).filter(lambda one: one[0] < one[1])),
    maybe(ranges(0, 6)),
    maybe(st.one_of(ranges(1, 31), ranges(-31, -1), st.tuples(st.integers(1, 28), st.integers(-3, -1)))),
    maybe(ranges(1, 12)),
    maybe(ranges(2026, 2029)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.sampled_from(_WALLS),
)
def test_every_key_agrees_with_a_reference_minute_by_minute(
    times: list[tuple[int, int]],
    weekdays: list[tuple[int, int]],
    days: list[tuple[int, int]],
    months: list[tuple[int, int]],
    years: list[tuple[int, int]],
    place: str,
    start: str,
) -> None:
    spec: dict[str, Any] = {"years": [f"{one}:{other}" for one, other in years or [(1970, 9999)]], "location": place}
    if times:
        spec["times"] = [
            {"start_time": f"{one // 60:02}:{one % 60:02}", "end_time": f"{other // 60:02}:{other % 60:02}"}
            for one, other in times
        ]
    if weekdays:
        spec["weekdays"] = [f"{intervals.WEEKDAYS[one]}:{intervals.WEEKDAYS[other]}" for one, other in weekdays]
    if days:
        spec["days_of_month"] = [f"{one}:{other}" for one, other in days]
    if months:
        spec["months"] = [f"{intervals.MONTHS[one - 1]}:{other}" for one, other in months]
    interval = intervals.compiled(IntervalSpec.model_validate(spec))
    first = datetime.fromisoformat(f"{start}:00Z")

    for minute in range(0, 36 * 60, 7):
        instant = first + timedelta(minutes=minute)
        wall = instant.astimezone(ZoneInfo(place))
        length = calendar.monthrange(wall.year, wall.month)[1]
        expected = (
            (not times or any(wall.hour * 60 + wall.minute in range(*one) for one in times))
            and (not weekdays or any(wall.isoweekday() % 7 in range(one, other + 1) for one, other in weekdays))
            and (not days or any(wall.day in named(one, length) for one in days))
            and (not months or any(wall.month in range(one, other + 1) for one, other in months))
            and (not years or any(wall.year in range(one, other + 1) for one, other in years))
        )

        assert intervals.holds(interval, instant.timestamp()) == expected, (spec, instant)


def named(days: tuple[int, int], length: int) -> set[int]:
    """Return the days of a month that a range names, by listing the month forwards and backwards."""
    first, last = (one if one > 0 else length + 1 + one for one in days)
    return {day for day in range(1, length + 1) if first <= day <= last}
