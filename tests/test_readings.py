"""What is read off the running parts at each scrape."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from monitor import codes, series
from monitor.actions import Pause
from monitor.readings import Readings
from monitor.store.room import Room

SINCE = "whatsapp_gate_paused_since_timestamp_seconds"


def pause(scope_id: str, since: float, code: int | None = 368) -> Pause:
    return Pause(f"p{since}", "waba", scope_id, "all", "policy_block", code, "", "", since, None, "waba")


def scraped(*pauses: Pause) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(
        Readings(
            clock=lambda: 100.0,
            catalogue=codes.catalogue,
            pauses=lambda: pauses,
            flags=lambda: (),
            firings=lambda: (),
            backlog=dict,
            resends=dict,
            lag_events=lambda: 0,
            followers=lambda: 0,
            journal_bytes=lambda: 0,
            lost_entries=0,
            clock_off_seconds=lambda: 0.0,
            caps=series.caps(series.MOST),
            room=Room(Path()),
        )
    )
    return registry


def test_pauses_that_look_alike_are_one_series_that_says_since_when_the_first_lasts() -> None:
    page = scraped(pause("100", 50.0), pause("100", 40.0), pause("200", 60.0, None))

    first = {"scope": "waba", "scope_id": "100", "rule": "policy_block", "code": "368"}
    second = {**first, "scope_id": "200", "code": ""}

    assert [page.get_sample_value(SINCE, labels) for labels in (first, second)] == [40.0, 60.0]
    assert [page.get_sample_value("whatsapp_gate_paused", labels) for labels in (first, second)] == [1.0, 1.0]


def test_what_is_not_paused_has_no_series() -> None:
    page = scraped()

    assert [sample for family in page.collect() if family.name in {SINCE, "whatsapp_gate_paused"}
            for sample in family.samples] == []  # fmt: skip
