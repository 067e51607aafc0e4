"""Too little of something: the store's file, the disk's speed, memory, the processor. What was promised holds."""

import contextlib
import itertools
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import asker, careless, exchange, memory, meta, oracle, patience, ports, syscalls, tier
from tests.harness.exchange import Answer
from tests.harness.meta import NUMBER, WABA_ID, Meta, Traffic
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(tier.of(120, 600))]

QUIET = ("--log.level", "error")
LOCKED_SECONDS = 6.0
ANSWER_SECONDS = 3.0
GATE_SECONDS = tier.of(0.25, 0.05)  # p99: 5 ms are wanted, and printed; where others share the cores, much is noise
SLOW_SECONDS = 0.2  # of each fdatasync
MEBIBYTE = 1024 * 1024
BODY_BYTES = 3 * MEBIBYTE  # as Meta's largest
BODIES = 40
BLOCKS = tier.of(3, 20)
CLOSED_SECONDS = 3.0
_serial = itertools.count()


def flooded(sender: Meta, *, threads: int = 2, pause_seconds: float = 0.002) -> contextlib.AbstractContextManager[None]:
    """Let traffic come that never came before."""
    traffic = Traffic(1, f"flood{next(_serial)}")
    return sender.flooding(traffic.delivery, threads=threads, pause_seconds=pause_seconds)


def delivered(sender: Meta, seconds: float) -> list[tuple[float, Answer]]:
    """Deliver one after the other for so long; return how long each took, and its answer."""
    end, found = time.monotonic() + seconds, []
    while time.monotonic() < end:
        begun = time.monotonic()
        answer = sender.post(meta.delivery(f"wamid.one.{next(_serial)}"))
        found.append((time.monotonic() - begun, answer))
    return found


def several(sender: Meta, seconds: float) -> list[tuple[float, Answer]]:
    """Let four deliver at once."""
    found: list[tuple[float, Answer]] = []
    threads = [threading.Thread(target=lambda: found.extend(delivered(sender, seconds))) for _ in range(4)]
    for one in threads:
        one.start()
        time.sleep(0.3)  # so that some come while others wait already
    for one in threads:
        one.join()
    return found


def test_while_a_stranger_holds_the_file_each_delivery_is_answered_503_in_time_and_the_gate_as_ever(
    tmp_path: Path,
) -> None:
    told = tmp_path / "answers"
    with meta.paused(tmp_path) as (sidecar, sender):
        with contextlib.closing(sqlite3.connect(sidecar.database, isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            with asker.asking(sidecar.web_port, f"/v1/gate/{NUMBER}", told):
                found = several(sender, LOCKED_SECONDS)
            stranger.execute("ROLLBACK")
        patience.until(lambda: sender.post(meta.delivery("wamid.free")).status == 200, seconds=5)
        sidecar.settle()
        sidecar.kill()
        oracle.assert_kept(sender.acked, sidecar.oracle())

    gate = asker.read(told)
    longest = max(seconds for seconds, _ in found)
    print(f"{len(found)} answers within {longest:.2f} s, gate p99 {1000 * asker.p99(gate):.1f} ms")  # noqa: T201
    assert {(answer.status, int(answer.headers["retry-after"]) > 0) for _, answer in found} == {(503, True)}
    assert longest < ANSWER_SECONDS
    assert {one.status for one in gate} == {403}
    assert asker.p99(gate) < GATE_SECONDS


def test_a_slow_disk_makes_answers_to_meta_slow_and_the_gate_s_not(tmp_path: Path) -> None:
    told = tmp_path / "answers"
    with meta.paused(tmp_path) as (sidecar, sender):
        usual = [seconds for seconds, _ in delivered(sender, 2.0)]
        sidecar.kill()
        log = tmp_path / "strace.log"
        sidecar.program = (*syscalls.slow("fdatasync", SLOW_SECONDS, sidecar.database, log), *sidecar.program)
        sidecar.start(*QUIET)
        with asker.asking(sidecar.web_port, f"/v1/gate/{NUMBER}", told):
            slow = delivered(sender, 5.0)

    gate = asker.read(told)
    took = [seconds for seconds, _ in slow]
    print(  # noqa: T201
        f"answers p50 {1000 * statistics.median(usual):.0f} and {1000 * statistics.median(took):.0f} ms, "
        f"gate p99 {1000 * asker.p99(gate):.1f} ms"
    )
    assert {answer.status for _, answer in slow} == {200}
    assert statistics.median(usual) < SLOW_SECONDS < min(took)  # it was slow
    assert {one.status for one in gate} == {403}
    assert asker.p99(gate) < GATE_SECONDS


def squeeze(group: memory.Group, port: int) -> None:
    """Let a program have little more than it has, and give it large bodies to hold, none of which comes to its end."""
    group.limit(group.used_bytes + 8 * MEBIBYTE)
    head = meta.head(meta.line(b"never sent"), length=BODY_BYTES + 1)
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for _ in range(BODIES):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=2))
            connection.sendall(head + b"x" * BODY_BYTES)


@pytest.mark.root
def test_who_is_killed_for_its_memory_loses_nothing_that_it_answered_and_no_pause(tmp_path: Path) -> None:
    with memory.group() as group, meta.paused(tmp_path) as (sidecar, sender):
        sidecar.kill()
        product = sidecar.program
        sidecar.program = (*group.before, *product)
        sidecar.start(*QUIET)
        before = len(sender.acked)
        with flooded(sender):
            patience.until(lambda: len(sender.acked) > before + 50)
            squeeze(group, sidecar.webhook_port)
            code = sidecar.wait()
            sidecar.program = product
            sidecar.start(*QUIET)
            held = sidecar.get(f"/v1/gate/{NUMBER}").status
        sidecar.settle()
        sidecar.kill()

        assert code == -signal.SIGKILL
        assert held == 403
        oracle.assert_kept(sender.acked, sidecar.oracle())


@pytest.mark.root
def test_a_receiver_that_answers_first_is_seen_losing_by_the_same_death(tmp_path: Path) -> None:
    """The other arm: the same death of one that answers before it journals."""
    port, database = ports.free(), tmp_path / "careless.db"
    with memory.group() as group, Meta(port) as sender:
        with careless.running(port, database, *group.before), flooded(sender):
            patience.until(lambda: len(sender.acked) > 50)
            squeeze(group, port)
            patience.until(lambda: group.is_empty)

        assert oracle.lost(sender.acked, oracle.read(database))


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Take every core, twice."""
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
            one.wait()


def test_on_a_machine_without_a_free_core_and_under_more_than_it_can_take_a_block_closes_the_gate_in_time(
    tmp_path: Path,
) -> None:
    seconds = []
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as flooding, meta.of(sidecar) as sender:
        sidecar.start(*QUIET)
        with busy(), flooded(flooding, threads=8, pause_seconds=0.0):
            time.sleep(2.0)  # what waits by now is there to be waited behind
            for number in range(BLOCKS):
                waba_id = f"{int(WABA_ID) + 1 + number}"
                path = f"/v1/gate?waba_id={waba_id}"
                assert exchange.ask(sidecar.web_port, "GET", path).status == 200
                assert sender.error(368, waba_id=waba_id).status == 200
                answered_at = time.monotonic()
                patience.until(lambda: exchange.ask(sidecar.web_port, "GET", path).status == 403, every=0.005)  # noqa: B023
                seconds.append(time.monotonic() - answered_at)
        acked = len(flooding.acked)

    print(f"closed after {max(seconds):.2f} s at the most, beside {acked} deliveries")  # noqa: T201
    assert max(seconds) < CLOSED_SECONDS
