"""What Meta last said, as gauges: state sets with the time of change, bounded and gone when they should be."""

from typing import Any

import pytest
from prometheus_client import generate_latest

from monitor import payloads, series
from tests import setting
from tests.world import NOW, NUMBER, WABA, World

NAMES = {"message_template_id": 1, "message_template_name": "offer", "message_template_language": "en"}


class Gauges:
    """The page of one world."""

    def __init__(self, world: World, now: float = NOW) -> None:
        metrics = setting.metrics()
        for number in world.memory.numbers.values():
            metrics.sender(number.waba_id, number.phone_number_id)
        collector = setting.statements(metrics, world.memory, now)
        metrics.registry.register(collector)
        assert generate_latest(metrics.registry)
        self._registry = metrics.registry
        self._samples = [one for family in collector.collect() for one in family.samples]

    def dropped(self, label: str) -> float | None:
        return self._registry.get_sample_value("whatsapp_monitor_labels_dropped_total", {"label": label})

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        return {tuple(one.labels.values()): one.value for one in self._samples if one.name == f"whatsapp_{name}"}


def quality(world: World, event: str, limit: str = "TIER_1K", at: float = NOW) -> None:
    value = {"display_phone_number": "15550000000", "event": event, "max_daily_conversations_per_business": limit}
    world.account("phone_number_quality_update", value, at)


def template(world: World, status: str, at: float = NOW, **names: Any) -> None:
    world.account("message_template_status_update", {"event": status, **NAMES, **names}, at)


def test_a_number_s_quality_is_a_state_set_that_says_since_when() -> None:
    world = World()
    world.status("wamid.1", "sent")
    quality(world, "FLAGGED", at=NOW + 10)
    quality(world, "FLAGGED", at=NOW + 20)
    page = Gauges(world)

    assert page.of("phone_number_quality") == {(WABA, NUMBER, "FLAGGED"): 1, (WABA, NUMBER, "UNFLAGGED"): 0}
    assert page.of("phone_number_quality_change_timestamp_seconds") == {(WABA, NUMBER): NOW + 10}
    assert page.of("messaging_limit") == {(WABA, NUMBER): 1_000}


def test_a_word_that_comes_late_does_not_overwrite_a_newer_one() -> None:
    world = World()
    world.status("wamid.1", "sent")
    quality(world, "UNFLAGGED", at=NOW + 20)
    quality(world, "FLAGGED", at=NOW + 10)

    assert Gauges(world).of("phone_number_quality")[WABA, NUMBER, "UNFLAGGED"] == 1


def test_a_portfolio_s_limit_has_no_number_and_unlimited_is_infinite() -> None:
    world = World()
    world.account("business_capability_update", {"max_daily_conversations_per_business": "TIER_UNLIMITED"})

    assert Gauges(world).of("messaging_limit") == {(WABA, ""): float("inf")}


def test_a_template_s_states_stand_side_by_side() -> None:
    world = World()
    template(world, "APPROVED")
    template(world, "PAUSED", NOW + 5)
    world.account("message_template_quality_update", {"new_quality_score": "RED", **NAMES}, NOW + 6)
    template(world, "SOMETHING_NEW", NOW, message_template_name="other", message_template_id=2)
    page = Gauges(world)

    held = {labels for labels, value in page.of("template_status").items() if value}
    assert held == {(WABA, "offer", "en", "PAUSED"), (WABA, "other", "en", "other")}
    assert page.of("template_quality")[WABA, "offer", "en", "RED"] == 1
    assert page.of("template_status_change_timestamp_seconds")[WABA, "offer", "en"] == NOW + 5


@pytest.mark.parametrize(("age", "is_shown"), [(100, True), (90_000, False)])
def test_a_deleted_template_goes_after_a_time(age: float, is_shown: bool) -> None:
    world = World()
    world.account("message_template_quality_update", {"new_quality_score": "RED", **NAMES}, NOW - 5)
    template(world, "DELETED")
    page = Gauges(world, NOW + age)

    assert bool(page.of("template_status")) == is_shown
    assert bool(page.of("template_quality")) == is_shown


def test_a_restriction_shows_until_it_ends() -> None:
    world = World()
    one = {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": int(NOW + 100)}
    world.account("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": [one]})
    during, after = Gauges(world, NOW + 99), Gauges(world, NOW + 101)

    labels = (WABA, "RESTRICTED_BIZ_INITIATED_MESSAGING")
    assert during.of("account_restricted") == {labels: 1}
    assert during.of("account_restriction_end_timestamp_seconds") == {labels: NOW + 100}
    assert during.of("incidents_open") == {(WABA,): 1}
    assert (after.of("account_restricted"), after.of("incidents_open")) == ({}, {})


def test_reviews_and_windows_show() -> None:
    world = World()
    world.account("account_review_update", {"decision": "REJECTED"})
    world.message("wamid.in")
    page = Gauges(world)

    assert page.of("account_review")[WABA, "REJECTED"] == 1
    assert page.of("conversation_windows_open") == {(NUMBER,): 1}


def test_made_up_numbers_and_templates_stay_within_their_caps() -> None:
    world, caps = World(), series.caps(series.MOST)
    for number in range(caps.numbers + 50):
        world.hear(payloads.change(str(number), messages=[payloads.message(f"wamid.{number}", NOW)]))
        template(world, "APPROVED", message_template_id=number, message_template_name=f"made-up-{number}")
    page = Gauges(world)

    windows = page.of("conversation_windows_open")
    assert (len(windows), windows["other",]) == (caps.numbers + 1, 50)
    assert len({labels[1] for labels in page.of("template_status")}) == caps.templates
    assert page.dropped("template") == caps.numbers + 50 - caps.templates
