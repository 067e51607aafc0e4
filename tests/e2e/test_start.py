"""A start on a store that weeks of traffic have filled: ready soon, and no send is allowed before it is known."""

import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import aged, asker, meta, patience, tier
from tests.harness.asker import Asked
from tests.harness.meta import NUMBER
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(tier.of(180, 600))]

DELIVERIES = tier.of(200_000, 1_000_000)
BUSY_DELIVERIES, BUSY_SECONDS = 200_000, 3_000.0
STARTS = tier.of(2, 5)
READY_SECONDS = 3.0
NOISY_SECONDS = 30.0  # where others take the cores
QUIET = ("--log.level", "error")
_serial = itertools.count()


@dataclass(frozen=True)
class Start:
    """When it was ready and the gate first answered, and how much of a core the former took."""

    ready_seconds: float
    cpu_seconds: float
    first_seconds: float
    answers: list[Asked]


def started(sidecar: Sidecar) -> Start:
    """Start it, and watch it until it has been ready for a while."""
    told = sidecar.directory / f"answers.{next(_serial)}"
    with asker.asking(sidecar.web_port, f"/v1/gate/{NUMBER}", told):
        patience.until(told.exists)
        launched_at = time.monotonic()
        sidecar.start(*QUIET)
        ready_seconds = time.monotonic() - launched_at
        cpu_seconds = sidecar.cpu_seconds
        patience.until(lambda: [one for one in asker.read(told) if one.status][20:])
    answers = asker.read(told)
    first = next(one for one in answers if one.status)
    return Start(ready_seconds, cpu_seconds, first.at + first.seconds - launched_at, answers)


def test_a_start_with_a_full_journal_is_soon_ready_and_allows_nothing_on_the_way(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar:
        aged.fill(sidecar, DELIVERIES)
        is_quiet = os.getloadavg()[0] < (os.cpu_count() or 1) / 2
        found = []
        for _ in range(STARTS):
            found.append(started(sidecar))
            sidecar.kill()
        sidecar.start(*QUIET)
        (pause,) = sidecar.get("/v1/pauses").json()["pauses"]
        assert sidecar.post(f"/v1/pauses/{pause['id']}/resume", actor="ann", reason="lifted").status == 200
        sidecar.kill()
        released = started(sidecar)

    quickest = min(found, key=lambda one: one.ready_seconds)
    print(  # noqa: T201
        f"{DELIVERIES:,} deliveries: ready after {quickest.ready_seconds:.2f} s ({quickest.cpu_seconds:.2f} s of a "
        f"core), the gate answers after {quickest.first_seconds:.2f} s"
    )
    assert {answer.status for one in found for answer in one.answers} == {0, 403}
    assert 200 in {answer.status for answer in released.answers}  # the same asking hears a send that is allowed
    assert min(one.cpu_seconds for one in found) < READY_SECONDS
    assert quickest.ready_seconds < (READY_SECONDS if tier.IS_LONG and is_quiet else NOISY_SECONDS)


def test_after_an_hour_of_much_traffic_it_is_as_soon_ready_and_its_rules_know_what_came_before(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        aged.fill(sidecar, BUSY_DELIVERIES, BUSY_SECONDS)
        sidecar.start(*QUIET)
        before = [repeated(number) for number in range(3)]
        assert [sender.post(body).status for body in before] == [200] * 3
        sidecar.settle(seconds=120)
        assert sidecar.get("/v1/flags").json()["flags"] == []
        sidecar.kill()
        found = started(sidecar)
        begun = time.monotonic()
        assert [sender.post(repeated(number)).status for number in (3, 4)] == [200] * 2
        answered_seconds = time.monotonic() - begun
        (flag,) = patience.until(lambda: sidecar.get("/v1/flags").json()["flags"], seconds=60)
        acted_seconds = time.monotonic() - begun

    print(  # noqa: T201
        f"{BUSY_DELIVERIES:,} deliveries within the hour: ready after {found.ready_seconds:.2f} s, answers after "
        f"{answered_seconds:.2f} s, acts after {acted_seconds:.2f} s"
    )
    assert flag["rule"] == "duplicate_burst"  # five within the minute, three of them before the start
    assert {answer.status for answer in found.answers} == {0, 403}
    assert found.cpu_seconds < READY_SECONDS


def repeated(number: int) -> bytes:
    """Return a delivery that says that a message was posted again."""
    status = payloads.status(f"wamid.again.{number}", "failed", time.time(), codes=(506,))
    return payloads.delivery(payloads.change("200000000000077", statuses=[status]), waba_id="100000000000077")
