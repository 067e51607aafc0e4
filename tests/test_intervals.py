"""Time intervals: what they hold at, on the wall of their place, and what is no interval."""

import math
from datetime import datetime
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
    ],
)
def test_what_makes_no_sense_is_told(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=told):
        IntervalSpec.model_validate(spec)


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
