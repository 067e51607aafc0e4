"""A process that dies at the worst places, each by its name: all that was answered 200 is kept, and pauses hold."""

import contextlib
import itertools
import queue
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from monitor import payloads
from monitor.store.opening import SCHEMA_VERSION
from tests.harness import meta, oracle, patience, promises, tier
from tests.harness.asking import asked
from tests.harness.failing import CARELESS, GONE, Point
from tests.harness.meta import Traffic
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.loss, pytest.mark.timeout(tier.of(120, 600))]

PASSES = tier.of((5,), (1, 2, 7, 20, 50))
RARE = {Point.PAUSE_WRITTEN, Point.CHECKPOINT, Point.RETENTION, Point.RELOAD, Point.UPGRADE}
SCHEMA_3 = """DROP INDEX seen_by_age; DROP INDEX resends_over; DROP INDEX audit_turns; DROP INDEX outbox_by_age;
DROP INDEX outbox_forwards; DROP INDEX outbox_alerts; DROP INDEX audit_chained; DROP INDEX audit_drills;
ALTER TABLE audit DROP COLUMN hash;
PRAGMA user_version = 3;"""
QUIET = ("--log.level", "error")


class Blocks:
    """Traffic, and between it policy blocks of accounts that were never blocked before."""

    def __init__(self, seed: int) -> None:
        self.bodies: list[bytes] = []
        self._traffic = Traffic(seed)
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._serial = itertools.count()

    def block(self) -> str:
        """Let the next delivery block another account; return a number of it."""
        number = next(self._serial)
        change = payloads.change(f"2{number:014d}", errors=[payloads.error(368)])
        body = payloads.delivery(change, waba_id=f"1{number:014d}")
        self.bodies.append(body)
        self._waiting.put(body)
        return f"2{number:014d}"

    def delivery(self) -> bytes:
        """Return the next body."""
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return self._traffic.delivery()


def failing(point: Point, passes: int, *how: str) -> tuple[str, ...]:
    """Return what to run in place of the product."""
    return (sys.executable, "-m", "tests.harness.failing", ":".join([point, str(passes), *how]))


def version(sidecar: Sidecar, change: str = "") -> int:
    """Return the schema of the file of a process that does not run; change the file before."""
    with contextlib.closing(sqlite3.connect(sidecar.database, isolation_level=None)) as db:
        db.executescript(change)
        found: int = db.execute("PRAGMA user_version").fetchone()[0]
        return found


def died(sidecar: Sidecar, point: Point, passes: int) -> int:
    """Run until the process dies at a point, doing what leads there; return its exit code."""
    if point is Point.UPGRADE:
        assert version(sidecar, SCHEMA_3) == 3
    sidecar.program = failing(point, 1 if point in RARE else passes)
    sidecar.launch(*QUIET)
    if point is Point.RELOAD:
        sidecar.wait_ready()
        sidecar.signal(signal.SIGHUP)
    return sidecar.wait()


@pytest.mark.parametrize("passes", PASSES)
def test_deaths_at_every_named_point_lose_nothing_double_nothing_and_release_no_pause(
    passes: int, tmp_path: Path
) -> None:
    blocks = Blocks(passes)
    with Target() as target, Sidecar(tmp_path, forward=[{"name": "app", "url": target.url}]) as sidecar:
        product, paused = sidecar.program, [blocks.block()]
        with meta.of(sidecar) as sender:
            flood = sender.flooding(blocks.delivery, threads=2, pause_seconds=0.002)
            with asked(sidecar, paused[0]) as answers, flood:
                for point in Point:
                    paused.append(blocks.block())
                    assert died(sidecar, point, passes) == GONE, point
                    found = sidecar.oracle()
                    assert found.integrity == "ok", point
                    assert oracle.lost(sender.acked, found) == set(), point
                assert version(sidecar) == 3
                sidecar.program = product
                sidecar.start(*QUIET)
                patience.until(lambda: sender.acked.keys() >= set(blocks.bodies))
            assert {sidecar.get(f"/v1/gate/{number}").status for number in paused} == {403}
            found = promises.assert_held(sidecar, sender.acked, answers=answers[answers.index(403) :])

        assert version(sidecar) == SCHEMA_VERSION
        bodies = [delivery.body for delivery in found.deliveries]
        assert {(request.body, request.headers["x-hub-signature-256"]) for request in target.received} == {
            (body, sender.sent[body]) for body in bodies
        }
        about_people = dict.fromkeys(request.body for request in target.received if request.body not in blocks.bodies)
        assert list(about_people) == [body for body in bodies if body not in blocks.bodies]


def test_a_receiver_that_answers_first_is_seen_losing_at_the_same_point(tmp_path: Path) -> None:
    """The other arm: the same death of one that answers before it journals."""
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.program = failing(Point.BEFORE_COMMIT, 12, CARELESS)
        with sender.flooding(Traffic(1).delivery, threads=2, pause_seconds=0.002):
            sidecar.launch(*QUIET)
            assert sidecar.wait() == GONE
        found = sidecar.oracle()

        assert found.integrity == "ok"
        assert oracle.lost(sender.acked, found)
