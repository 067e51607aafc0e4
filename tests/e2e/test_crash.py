"""A crash at any moment loses nothing that was answered 200, and doubles nothing that is counted."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.harness import careless, meta, oracle, ports, promises, tier
from tests.harness.meta import Meta, Traffic
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.loss, pytest.mark.timeout(tier.of(240, 2400))]

KILLS = tier.of(20, 200)
ANSWERED_LEAST = tier.of(500, 200_000)
KILL_AFTER_SECONDS = tier.of((0.05, 0.4), (0.2, 2.4))  # after it was ready
THREADS = tier.of(4, 40)
PAUSE_SECONDS = tier.of(0.004, 0.0)  # between two deliveries of a thread: the target needs the cores too
SEED = int(os.environ.get("WHATSAPP_MONITOR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)


def test_whatever_was_answered_200_outlives_kills_under_load_and_is_forwarded_and_counted_once(
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
            sidecar.settle(seconds=tier.of(60, 900))
            forwarded = list(target.received)
            found = promises.assert_held(sidecar, acked, forwarded=[request.body for request in forwarded])

        print(f"{len(acked)} were answered 200 over {KILLS} kills")  # noqa: T201 (the figure of the long tier)
        assert len(acked) > ANSWERED_LEAST
        bodies = [delivery.body for delivery in found.deliveries]
        assert {(request.body, request.headers["x-hub-signature-256"]) for request in forwarded} == {
            (body, sender.sent[body]) for body in bodies
        }
        firsts = list(dict.fromkeys(request.body for request in forwarded))
        assert firsts == bodies


def test_a_receiver_that_answers_before_it_journals_is_seen_losing(tmp_path: Path) -> None:
    port, database = ports.free(), tmp_path / "careless.db"
    traffic = Traffic(SEED)
    with Meta(port) as sender:
        with sender.flooding(traffic.delivery, threads=THREADS, pause_seconds=PAUSE_SECONDS):
            for _ in range(5):
                with careless.running(port, database):
                    time.sleep(0.3)

        found = oracle.read(database)
        assert sender.acked
        assert found.deliveries
        assert found.integrity == "ok"
        assert oracle.lost(sender.acked, found)
        with pytest.raises(AssertionError):
            oracle.assert_kept(sender.acked, found)
