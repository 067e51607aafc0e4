"""Floods: the gate answers in time and rightly, a block is seen through them, and memory stays within its bounds."""

import itertools
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import workload
from tests.harness import asker, floods, memory, meta, patience, peer, tier
from tests.harness.floods import Flood
from tests.harness.meta import NUMBER
from tests.harness.sidecar import APP_SECRET, VERIFY_TOKEN, Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SECONDS = tier.of(2, 10)
MEBIBYTES_MOST = 256
SEEN_SECONDS_MOST = 3.0
GATE_P99_SECONDS = 0.05  # 5 ms are wanted, and printed; the two cores are the flood's too
_accounts = itertools.count(100_000_000_000_500)


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One sidecar that all floods befall, whose account is paused."""
    peer.path("wrk")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    webhook = {"app_secrets": [APP_SECRET, workload.SECRET], "verify_tokens": [VERIFY_TOKEN]}
    with Sidecar(tmp_path_factory.mktemp("flooded"), webhook=webhook) as sidecar, meta.of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
        yield sidecar


@pytest.mark.parametrize("flood", floods.ALL, ids=lambda flood: flood.__name__)
def test_in_a_flood_the_gate_denies_in_time_a_block_is_seen_and_memory_stays_bounded(
    flooded: Sidecar, flood: Flood, tmp_path: Path
) -> None:
    flood(flooded, flooded.directory, 1)  # what it makes ready first is no flood yet
    flooding = threading.Thread(target=flood, args=(flooded, flooded.directory, SECONDS))
    with asker.asking(flooded.web_port, f"/v1/gate/{NUMBER}", tmp_path / "answers"), meta.of(flooded) as sender:
        patience.until(lambda: asker.read(tmp_path / "answers"))
        flooding.start()
        begun = time.monotonic()
        time.sleep(SECONDS / 2)
        seen_seconds = blocked_seconds(flooded, sender)
        flooding.join()
        ended = time.monotonic()
    told = [one for one in asker.read(tmp_path / "answers") if begun <= one.at < ended]
    gate_seconds, mebibytes = asker.p99(told), memory.resident_mebibytes(flooded.pid, at_most=True)
    print(  # noqa: T201 (the figures)
        f"{flood.__name__}: gate p99 {1000 * gate_seconds:.1f} ms of {len(told)}, "
        f"a block is seen after {1000 * seen_seconds:.0f} ms, peak {mebibytes:.0f} MiB"
    )

    assert {one.status for one in told} == {403}
    assert gate_seconds < GATE_P99_SECONDS
    assert seen_seconds < SEEN_SECONDS_MOST
    assert mebibytes < MEBIBYTES_MOST
    flooded.settle(seconds=60)


def blocked_seconds(sidecar: Sidecar, sender: meta.Meta) -> float:
    """Return how long it takes from Meta's word that an account is blocked until the gate denies it."""
    account = str(next(_accounts))
    body = meta.blocked(account)
    begun = time.monotonic()
    assert sender.deliver(body)
    patience.until(lambda: sidecar.get(f"/v1/gate?waba_id={account}").status == 403, seconds=30, every=0.005)
    return time.monotonic() - begun
