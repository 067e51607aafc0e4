"""The application gets every delivery as Meta sent it, in order, whatever happens to it meanwhile."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store.opening import open_store
from monitor.store.protocol import Before
from tests.harness import meta, patience
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = pytest.mark.slow


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as made:
        yield made


@pytest.fixture
def sidecar(tmp_path: Path, target: Target) -> Iterator[Sidecar]:
    with Sidecar(tmp_path, forward=[{"name": "app", "url": target.url}]) as made:
        made.start()
        yield made


def deliver(sidecar: Sidecar, numbers: range) -> tuple[dict[bytes, str], float]:
    """Send deliveries one by one; return signatures by body in order, and the longest time to an answer."""
    longest = 0.0
    with meta.of(sidecar) as sender:
        for number in numbers:
            started_at = time.monotonic()
            assert sender.post(meta.delivery(f"wamid.forward.{number}")).status == 200
            longest = max(longest, time.monotonic() - started_at)
        return sender.sent, longest


def bodies(target: Target) -> list[bytes]:
    return [request.body for request in target.received]


def firsts(target: Target) -> list[bytes]:
    return list(dict.fromkeys(bodies(target)))


def test_a_delivery_is_forwarded_byte_for_byte_with_meta_s_signature(sidecar: Sidecar, target: Target) -> None:
    sent, _ = deliver(sidecar, range(3))

    sidecar.settle()

    assert bodies(target) == list(sent)
    assert [request.headers["x-hub-signature-256"] for request in target.received] == list(sent.values())
    assert {request.headers["content-type"] for request in target.received} == {"application/json"}
    assert {request.path for request in target.received} == {"/webhook"}


def test_a_delivery_that_comes_alone_leaves_at_once(sidecar: Sidecar, target: Target) -> None:
    lags = []
    for number in range(10):
        with meta.of(sidecar) as sender:
            assert sender.post(meta.delivery(f"wamid.alone.{number}")).status == 200
        answered_at = time.time()
        patience.until(lambda: len(target.received) > number)  # noqa: B023
        lags.append(target.received[number].at - answered_at)
        time.sleep(0.15)  # the last one is settled

    assert statistics.median(lags) < 0.25


def test_a_target_that_was_down_gets_everything_in_order(sidecar: Sidecar, target: Target) -> None:
    target.down()
    sent, _ = deliver(sidecar, range(50))
    patience.until(lambda: sidecar.metric("whatsapp_monitor_outbox_sends_total", outcome="retry") >= 1)
    assert sidecar.metric("whatsapp_monitor_outbox_pending", destination="app") == 50

    target.up()
    patience.until(lambda: len(firsts(target)) == 50, seconds=20)

    assert bodies(target) == list(sent)
    patience.until(lambda: sidecar.metric("whatsapp_monitor_outbox_pending", destination="app") == 0)


def test_a_target_that_was_down_while_we_crashed_gets_everything_in_order(sidecar: Sidecar, target: Target) -> None:
    target.down()
    before, _ = deliver(sidecar, range(20))
    sidecar.kill()
    sidecar.start()
    after, _ = deliver(sidecar, range(20, 40))

    target.up()
    patience.until(lambda: len(firsts(target)) == 40, seconds=20)

    assert firsts(target) == [*before, *after]


@pytest.mark.parametrize("status", [500, 429, 404, 301])
def test_a_target_that_answered_with_an_error_gets_everything_in_order(
    sidecar: Sidecar, target: Target, status: int
) -> None:
    target.status = status
    sent, _ = deliver(sidecar, range(10))
    patience.until(lambda: len(target.heard) >= 2)
    assert {request.body for request in target.heard} == {next(iter(sent))}

    target.status = 200
    patience.until(lambda: len(firsts(target)) == 10, seconds=20)

    assert bodies(target) == list(sent)


def test_a_target_that_refuses_a_body_for_good_does_not_hold_back_the_next(sidecar: Sidecar, target: Target) -> None:
    target.status = 400
    deliver(sidecar, range(1))
    patience.until(lambda: sidecar.metric("whatsapp_monitor_outbox_dead", destination="app") == 1)

    target.status = 200
    sent, _ = deliver(sidecar, range(1, 3))
    patience.until(lambda: len(target.received) == 2)

    assert bodies(target) == list(sent)


def test_a_slow_target_delays_neither_the_answers_to_meta_nor_the_gate(sidecar: Sidecar, target: Target) -> None:
    target.delay_seconds = 5.0
    sent, longest = deliver(sidecar, range(100))
    patience.until(lambda: target.heard)

    _, meanwhile = deliver(sidecar, range(100, 200))
    started_at = time.monotonic()
    assert sidecar.get("/v1/gate/200000000000001").status == 200
    assert time.monotonic() - started_at < 1
    assert longest < 1
    assert meanwhile < 1

    target.delay_seconds = 0.0
    patience.until(lambda: len(firsts(target)) == 200, seconds=20)
    assert firsts(target)[:100] == list(sent)


def test_one_target_that_is_down_delays_no_other(tmp_path: Path) -> None:
    with Target() as fine, Target() as gone:
        gone.down()
        forward = [{"name": "gone", "url": gone.url}, {"name": "fine", "url": fine.url}]
        with Sidecar(tmp_path, forward=forward) as sidecar:
            sidecar.start()
            sent, _ = deliver(sidecar, range(20))

            patience.until(lambda: len(firsts(fine)) == 20, seconds=5)

            assert bodies(fine) == list(sent)
            assert sidecar.metric("whatsapp_monitor_outbox_pending", destination="gone") == 20


async def journaled_past_retention(sidecar: Sidecar) -> tuple[int, float]:
    """Return how many deliveries and waiting rows are left once everything is past retention and nothing forwards."""
    store = open_store(sidecar.database)
    try:
        await store.prune(Before(now := time.time() + 10, now, now, 100.0))
        waiting = sum(backlog.pending + backlog.dead for backlog in (await store.backlog()).values())
    finally:
        await store.close()
    return len(sidecar.oracle().deliveries), waiting


async def test_what_a_target_refused_for_good_goes_with_retention(sidecar: Sidecar, target: Target) -> None:
    target.status = 400
    deliver(sidecar, range(3))
    patience.until(lambda: sidecar.metric("whatsapp_monitor_outbox_dead", destination="app") == 3)
    sidecar.kill()

    deliveries, waiting = await journaled_past_retention(sidecar)

    assert deliveries <= 1  # the newest entry may stay: positions go on from it
    assert waiting <= 1


async def test_what_waits_for_a_target_that_is_no_longer_configured_goes_with_retention(
    sidecar: Sidecar, target: Target
) -> None:
    target.down()
    deliver(sidecar, range(3))
    patience.until(lambda: sidecar.metric("whatsapp_monitor_journal_lag_events") == 0)
    sidecar.kill()

    deliveries, waiting = await journaled_past_retention(sidecar)

    assert deliveries <= 1
    assert waiting <= 1


def test_what_was_refused_for_good_is_listed_and_tried_again_when_somebody_says_so(
    sidecar: Sidecar, target: Target
) -> None:
    target.status = 422
    sent, _ = deliver(sidecar, range(3))
    patience.until(lambda: len(sidecar.get("/v1/outbox?state=dead").json()["rows"]) == 3)
    rows = sidecar.get("/v1/outbox?state=dead").json()["rows"]
    target.status = 200
    target.received.clear()

    one = sidecar.get(f"/v1/outbox/{rows[0]['id']}").json()["row"]
    listed = sidecar.command("outbox", "--dead").stdout
    first = sidecar.command("outbox", "retry", str(rows[0]["id"]), "--reason", "the application is mended")
    patience.until(lambda: len(target.received) == 1)
    sidecar.settle()
    again = sidecar.command("outbox", "retry", str(rows[0]["id"]), "--reason", "once more")
    others = sidecar.command("outbox", "retry", "--all", "--destination", "app", "--reason", "all of them")
    patience.until(lambda: len(target.received) == 3)
    patience.until(lambda: not sidecar.get("/v1/outbox").json()["rows"])
    none = sidecar.post("/v1/outbox/retry", actor="ann", reason="x")

    assert (one["state"], one["error"], one["bytes"]) == ("dead", "status_422", len(list(sent)[-1]))
    assert "status_422" in listed
    assert (first.returncode, again.returncode, others.returncode) == (0, 1, 0)
    assert "Wait again: 2 for app" in others.stdout
    assert set(bodies(target)) == set(sent)
    assert (none.status, none.json()["error"]) == (409, "none_dead")
    actions = [entry["action"] for entry in sidecar.get("/v1/audit").json()["audit"]]
    assert actions.count("outbox_retry") == 2


def test_what_was_sent_when_we_were_killed_is_sent_again_under_the_same_id(sidecar: Sidecar, target: Target) -> None:
    target.delay_seconds = 30
    sent, _ = deliver(sidecar, range(1))
    patience.until(lambda: target.heard)

    sidecar.kill()
    target.delay_seconds = 0
    sidecar.start()

    patience.until(lambda: target.received, seconds=20)
    first, second = target.heard
    assert first.body == second.body == next(iter(sent))
    assert first.headers["x-monitor-delivery"] == second.headers["x-monitor-delivery"]
