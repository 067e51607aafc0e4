"""A disk that fails: nothing that could not be journaled is answered 200, and a restart goes on where it was."""

import contextlib
import itertools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import careless, meta, mounts, oracle, patience, peer, ports, promises, syscalls, tier
from tests.harness.meta import NUMBER, Meta, Traffic
from tests.harness.powered import PoweredDisk
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.loss, pytest.mark.timeout(tier.of(120, 900))]

FAILURES = {"fdatasync": tier.of((1, 25), range(1, 61)), "pwrite64": tier.of((9, 60), range(1, 61))}
EXIT_SECONDS = 4.0  # it drained for five once, with nobody who could write what it caught up
GROWTH_BYTES = 300_000
QUIET = ("--log.level", "error")
_serial = itertools.count()


def flooded(sender: Meta) -> contextlib.AbstractContextManager[None]:
    """Let traffic come that never came before."""
    return sender.flooding(Traffic(1, f"flood{next(_serial)}").delivery, threads=2, pause_seconds=0.002)


def assert_ends(sidecar: Sidecar, sender: Meta, why: str, faulty: Callable[[], object] = lambda: None) -> None:
    """See it end by itself, having kept what it had answered 200; `faulty` mends the disk.

    It ends with 1, or with 3 where it could not even begin.
    """
    code = sidecar.wait()
    acked = list(sender.acked)
    faulty()
    found = sidecar.oracle()
    assert (code in {1, 3}, found.integrity, oracle.lost(acked, found)) == (True, "ok", set()), why


def assert_goes_on(sidecar: Sidecar, sender: Meta) -> None:
    """Start it again: the pause holds, and all that comes is taken, counted once."""
    before = len(sender.acked)
    with flooded(sender):
        sidecar.start(*QUIET)
        assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
        patience.until(lambda: len(sender.acked) > before + 20, seconds=5)
    promises.assert_held(sidecar, sender.acked)


def test_after_an_io_error_nothing_is_answered_200_until_a_restart_has_recovered_the_store(tmp_path: Path) -> None:
    with meta.paused(tmp_path) as (sidecar, sender):
        sidecar.kill()
        product = sidecar.program
        for call, number in ((call, number) for call, numbers in FAILURES.items() for number in numbers):
            log = tmp_path / f"{call}.{number}.log"
            sidecar.program = (*syscalls.failing(call, "EIO", str(number), sidecar.database, log), *product)
            with flooded(sender):
                sidecar.launch(*QUIET)
                assert_ends(sidecar, sender, f"{call} {number}")
            assert time.time() - syscalls.injected(log)[0] < EXIT_SECONDS
        sidecar.program = product
        assert_goes_on(sidecar, sender)

        assert "Traceback" not in sidecar.log


def test_a_receiver_that_answers_first_is_seen_losing_by_the_same_failure(tmp_path: Path) -> None:
    """The other arm: the same failure of one that answers before it journals."""
    port, database, log = ports.free(), tmp_path / "careless.db", tmp_path / "strace.log"
    with Meta(port) as sender:
        with (
            careless.running(port, database, *syscalls.failing("fdatasync", "EIO", "4", database, log)),
            flooded(sender),
        ):
            patience.until(lambda: syscalls.injected(log))
            time.sleep(0.2)

        assert oracle.lost(sender.acked, oracle.read(database))


def test_a_moment_without_room_is_answered_503_and_then_it_goes_on_by_itself(tmp_path: Path) -> None:
    log = tmp_path / "strace.log"
    with meta.paused(tmp_path) as (sidecar, sender):
        sidecar.kill()
        sidecar.program = (*syscalls.failing("pwrite64", "ENOSPC", "60..62", sidecar.database, log), *sidecar.program)
        sidecar.launch(*QUIET)
        with flooded(sender):
            patience.until(lambda: len(syscalls.injected(log)) == 3, seconds=20)
            before = len(sender.acked)
            patience.until(lambda: len(sender.acked) > before + 20, seconds=5)
        assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
        promises.assert_held(sidecar, sender.acked)


def test_a_file_that_may_not_grow_ends_it_and_a_restart_without_the_limit_goes_on(tmp_path: Path) -> None:
    with meta.paused(tmp_path) as (sidecar, sender):
        sidecar.kill()
        product, size = sidecar.program, max(file.stat().st_size for file in tmp_path.glob("monitor.db*"))
        sidecar.program = (peer.path("prlimit"), f"--fsize={size + GROWTH_BYTES}", *product)
        with flooded(sender):
            sidecar.launch(*QUIET)
            assert_ends(sidecar, sender, "RLIMIT_FSIZE")
        sidecar.program = product
        assert_goes_on(sidecar, sender)


@pytest.mark.root
def test_a_disk_that_turns_read_only_ends_it_and_a_restart_on_a_mended_one_goes_on(tmp_path: Path) -> None:
    with PoweredDisk(tmp_path) as disk, meta.paused(disk.folder) as (sidecar, sender):
        subprocess.run(["sync", "--file-system", str(disk.folder)], check=True)
        sidecar.log_file = tmp_path / "sidecar.log"
        with flooded(sender):
            patience.until(lambda: len(sender.acked) > 20)
            subprocess.run(["mount", "-o", "remount,abort", str(disk.folder)], check=True)
            assert_ends(sidecar, sender, "read-only", disk.restore)
        assert_goes_on(sidecar, sender)


@pytest.mark.root
def test_a_disk_that_is_read_only_from_the_start_is_refused_with_3_and_a_sentence(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounts.mount(disk, "-t", "tmpfs", "-o", "size=16m", "tmpfs")
    try:
        with meta.paused(disk) as (sidecar, sender):
            sidecar.kill()
            sidecar.log_file = tmp_path / "sidecar.log"
            mounts.mount(disk, "-o", "remount,ro")
            sidecar.launch(*QUIET)
            code, told = sidecar.wait(), sidecar.log
            mounts.mount(disk, "-o", "remount,rw")
            assert_goes_on(sidecar, sender)
    finally:
        mounts.unmount(disk, is_lazy=True)

    assert code == 3
    assert str(sidecar.database) in told
    assert len(told.splitlines()) == 1


def test_a_file_that_is_moved_away_takes_no_delivery_until_it_is_back_and_the_pause_holds(tmp_path: Path) -> None:
    """What is written into a file without a name is gone with the process, however well it was synced."""
    with meta.paused(tmp_path) as (sidecar, sender):
        with flooded(sender):
            for name in ("monitor.db", "monitor.db-wal"):
                (tmp_path / name).rename(tmp_path / "moved")
                time.sleep(0.1)
                before = len(sender.acked)
                time.sleep(0.3)
                assert len(sender.acked) == before, name
                assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
                (tmp_path / "moved").rename(tmp_path / name)
                patience.until(lambda: len(sender.acked) > before, seconds=5)  # noqa: B023 (asked here)
        promises.assert_held(sidecar, sender.acked)
