"""A crash at any moment loses nothing that was answered 200, and doubles nothing that is counted."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import exchange, meta, oracle, patience, ports, tier
from tests.harness.meta import Meta, Traffic
from tests.harness.oracle import Oracle
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(tier.of(240, 2400))]

KILLS = tier.of(50, 200)
KILL_AFTER_SECONDS = (0.05, 0.4)
THREADS = 4
PAUSE_SECONDS = tier.of(
    0.004, 0.0005
)  # between two deliveries of a thread: the two cores are the clients' and the target's too
SEED = int(os.environ.get("WHATSAPP_MONITOR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)


def assert_nothing_lost(acked: list[bytes], found: Oracle) -> None:
    """Check what holds after every crash."""
    assert found.integrity == "ok"
    assert not oracle.lost(acked, found)


@contextlib.contextmanager
def careless(port: int, database: Path) -> Iterator[None]:
    """Run the receiver that answers before it journals, until the block ends: then kill it."""
    command = [sys.executable, "-m", "tests.harness.careless", str(port), str(database)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        patience.until(lambda: exchange.ask(port, "POST", "/ready", b"").status)
        yield
    finally:
        process.kill()
        process.wait()


def test_whatever_was_answered_200_outlives_fifty_kills_under_load_and_is_forwarded_and_counted_once(
    tmp_path: Path,
) -> None:
    print(f"WHATSAPP_MONITOR_TEST_SEED={SEED}")  # noqa: T201 (shown with a failure, to play it again)
    chance = random.Random(SEED)
    traffic = Traffic(SEED)
    with Target() as target, Sidecar(tmp_path, forward=[{"name": "app", "url": target.url}]) as sidecar:
        with meta.of(sidecar) as sender:
            with sender.flooding(traffic.delivery, threads=THREADS, pause_seconds=PAUSE_SECONDS):
                for _ in range(KILLS):
                    sidecar.start()
                    time.sleep(chance.uniform(*KILL_AFTER_SECONDS))
                    sidecar.kill()
            acked = list(sender.acked)
            sidecar.start()
            sidecar.settle(seconds=tier.of(60, 600))
            sidecar.kill()
            found = sidecar.oracle()
            forwarded = list(target.received)

        print(f"{len(acked)} were answered 200 over {KILLS} kills")  # noqa: T201 (the figure of the long tier)
        assert len(acked) > 20 * KILLS
        assert_nothing_lost(acked, found)
        assert found.positions == list(range(1, len(found.positions) + 1))
        bodies = [delivery.body for delivery in found.deliveries]
        assert len(set(bodies)) == len(bodies)

        assert {(request.body, request.headers["x-hub-signature-256"]) for request in forwarded} == {
            (body, sender.sent[body]) for body in bodies
        }
        firsts = list(dict.fromkeys(request.body for request in forwarded))
        assert firsts == bodies

        told = oracle.told(bodies)
        assert len(found.messages) == len(told)
        for wamid, steps in found.messages:
            assert len(set(steps)) == len(steps)
            assert set(steps) == told[wamid]


def test_a_receiver_that_answers_before_it_journals_is_seen_losing(tmp_path: Path) -> None:
    port, database = ports.free(), tmp_path / "careless.db"
    traffic = Traffic(SEED)
    with Meta(port) as sender:
        with sender.flooding(traffic.delivery, threads=THREADS, pause_seconds=PAUSE_SECONDS):
            for _ in range(5):
                with careless(port, database):
                    time.sleep(0.3)

        found = oracle.read(database)
        assert sender.acked
        assert found.deliveries
        assert found.integrity == "ok"
        assert oracle.lost(sender.acked, found)
        with pytest.raises(AssertionError):
            assert_nothing_lost(list(sender.acked), found)
