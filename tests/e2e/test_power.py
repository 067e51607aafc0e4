"""A power cut: whatever was answered 200 is on the disk, and what stood still stands."""

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.harness import meta, oracle, patience, tier
from tests.harness.meta import NUMBER, Traffic
from tests.harness.powered import PoweredDisk
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.loss, pytest.mark.root, pytest.mark.timeout(tier.of(180, 1200))]

CUTS = tier.of(5, 20)


def test_what_was_answered_200_outlives_power_cuts_and_so_does_a_pause(tmp_path: Path) -> None:
    with PoweredDisk(tmp_path) as disk, Target() as target:
        sidecar = Sidecar(disk.folder, forward=[{"name": "app", "url": target.url}])
        os.sync()  # the configuration is the operator's, written long ago
        with sidecar, meta.of(sidecar) as sender:
            sidecar.log_file = tmp_path / "sidecar.log"
            sidecar.start("--log.level", "error")
            assert sender.error(368).status == 200
            patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
            for cut in range(CUTS):
                traffic = Traffic(cut, f"cut{cut}")
                with sender.flooding(traffic.delivery, threads=4):
                    time.sleep(0.5 + 0.13 * (cut % 5))
                    # Who has no power answers nothing: were the process still alive after the cut, a sync under way
                    # could return as if it had been done, and its answer be taken for a promise.
                    sidecar.signal(signal.SIGKILL)
                    disk.cut()
                sidecar.end()
                disk.restore()

                found = sidecar.oracle()
                assert oracle.lost(sender.acked, found) == set()
                assert found.integrity == "ok"
                assert len((disk.folder / "hash.key").read_bytes()) == 64
                sidecar.start("--log.level", "error")
                assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
            print(f"{len(sender.acked)} were answered 200 over {CUTS} cuts")  # noqa: T201 (the figure of the long tier)
            assert len(sender.acked) > 500
            sidecar.settle(seconds=60)
            assert {request.body for request in target.received} >= set(sender.acked)


def test_the_cut_is_one_since_what_is_not_synced_is_lost(tmp_path: Path) -> None:
    """The other arm: a store that does not sync each commit loses some of what it said to have."""
    with PoweredDisk(tmp_path) as disk:
        path = disk.folder / "careless.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("CREATE TABLE said (number INTEGER)")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for number in range(500):
                db.execute("INSERT INTO said VALUES (?)", (number,))
            disk.cut()
        disk.restore()

        with contextlib.closing(sqlite3.connect(path)) as db:
            (kept,) = db.execute("SELECT COUNT(*) FROM said").fetchone()
        assert kept < 500
