"""A wall clock that jumps: a pause without an end holds, nothing is counted twice, and nobody is flooded."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import meta, patience, promises
from tests.harness.asking import asked
from tests.harness.clock import Clock
from tests.harness.meta import NUMBER, Meta, Traffic
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = pytest.mark.slow

HOUR, DAY = 3600.0, 86400.0
JUMPS = (HOUR, -DAY, 30 * DAY, 0.0)
QUIET = ("--log.level", "error")
OTHER = "100000000000009"


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def app() -> Iterator[Target]:
    with Target() as made:
        yield made


@pytest.fixture
def pager() -> Iterator[Target]:
    with Target() as made:
        yield made


@pytest.fixture
def sidecar(tmp_path: Path, clock: Clock, app: Target, pager: Target) -> Iterator[Sidecar]:
    settings = {"forward": [{"name": "app", "url": app.url}], "alerts": {"webhooks": [{"url": pager.url}]}}
    with Sidecar(tmp_path, environment=clock.environment, **settings) as made:
        yield made


def block(sidecar: Sidecar, sender: Meta) -> None:
    """Let Meta block the account."""
    assert sender.error(368).status == 200
    patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)


def test_jumps_release_no_pause_that_has_no_end_double_nothing_and_raise_no_storm(
    sidecar: Sidecar, clock: Clock, app: Target, pager: Target
) -> None:
    with meta.of(sidecar) as sender:
        sidecar.start(*QUIET)
        block(sidecar, sender)
        with asked(sidecar, NUMBER) as answers:
            for jump in JUMPS:
                clock.jump(jump)
                before = len(sender.acked)
                with sender.flooding(Traffic(1, f"jump{jump:.0f}").delivery, threads=2, pause_seconds=0.01):
                    patience.until(lambda: len(sender.acked) > before + 20)  # noqa: B023 (asked here)
        patience.until(lambda: {request.body for request in app.received} >= sender.acked.keys())
        assert sidecar.metric("whatsapp_monitor_loop_restarts_total") == 0
        promises.assert_held(
            sidecar, sender.acked, forwarded=[request.body for request in app.received], answers=answers
        )
        for jump in JUMPS[:-1]:
            clock.jump(jump)
            sidecar.start(*QUIET)
            answers.append(sidecar.get(f"/v1/gate/{NUMBER}").status)
            sidecar.kill()

        assert set(answers) == {403}
        assert "Traceback" not in sidecar.log
        assert len(pager.received) == 1


def test_a_clock_that_is_put_back_holds_back_no_forward_that_waits(sidecar: Sidecar, clock: Clock, app: Target) -> None:
    with meta.of(sidecar) as sender:
        sidecar.start(*QUIET)
        app.down()
        for number in range(30):
            assert sender.post(meta.delivery(f"wamid.waits.{number}")).status == 200
        patience.until(lambda: sidecar.metric("whatsapp_monitor_outbox_sends_total", outcome="retry") >= 3)

        clock.jump(-DAY)
        app.up()

        patience.until(lambda: len(app.received) == 30)
        assert [request.body for request in app.received] == list(sender.acked)


def test_who_sets_the_clock_ends_no_pause_and_is_told_of(sidecar: Sidecar, clock: Clock) -> None:
    sidecar.start(*QUIET)
    short, long = "100000000000008", OTHER
    act = {"actor": "ann", "reason": "a while"}
    for waba, lasts in ((short, "3s"), (long, "30m")):
        assert sidecar.post("/v1/pauses", scope="waba", scope_id=waba, **act, **{"for": lasts}).status == 201

    for jump in (HOUR, -DAY, 30 * DAY):
        clock.jump(jump)
        assert sidecar.get(f"/v1/gate?waba_id={long}").status == 403
        told = patience.until(lambda: sidecar.metric("whatsapp_monitor_clock_off_seconds"))
        patience.until(lambda: abs(sidecar.metric("whatsapp_monitor_clock_off_seconds") - jump) < 60)  # noqa: B023
        assert told

    patience.until(lambda: sidecar.get(f"/v1/gate?waba_id={short}").status == 200)
    assert sidecar.get(f"/v1/gate?waba_id={long}").status == 403
    clock.jump(0.0)
    patience.until(lambda: sidecar.metric("whatsapp_monitor_clock_off_seconds") == 0)


def test_meta_s_timestamps_say_that_the_machine_stood_still(sidecar: Sidecar, clock: Clock) -> None:
    with meta.of(sidecar) as sender:
        sidecar.start(*QUIET)
        clock.jump(2 * HOUR)
        patience.until(lambda: sidecar.metric("whatsapp_monitor_clock_off_seconds") > HOUR)

        assert sender.statuses(payloads.status("wamid.later", "sent", time.time() + 2 * HOUR)).status == 200

        patience.until(lambda: sidecar.metric("whatsapp_monitor_clock_off_seconds") == 0)


def test_a_start_goes_by_the_clock_that_it_finds(sidecar: Sidecar, clock: Clock) -> None:
    """The other arm, since it sees the jump; and the edge of the promise."""
    sidecar.start(*QUIET)
    act = {"actor": "ann", "reason": "a while", "for": "30m"}
    assert sidecar.post("/v1/pauses", scope="waba", scope_id=OTHER, **act).status == 201
    sidecar.kill()

    clock.jump(HOUR)
    sidecar.start(*QUIET)

    assert sidecar.get(f"/v1/gate?waba_id={OTHER}").status == 200
