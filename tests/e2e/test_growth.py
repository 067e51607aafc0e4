"""A process whose traffic is steady holds no more memory after an hour than before."""

import statistics
import time
from pathlib import Path

import pytest

from tests.bench import load, workload
from tests.harness import memory, meta, peer, tier
from tests.harness.meta import Traffic
from tests.harness.sidecar import APP_SECRET, VERIFY_TOKEN, Sidecar

MINUTES = tier.of(0.25, 60)
THREADS, PAUSE_SECONDS = 2, 0.03
FILLING, FILLING_SECONDS = tier.of((10_000, 3), (300_000, 150))
FILLED = tier.of(1_000, 250_000)  # more than is remembered by number, and as much again: then no table grows any more
SETTLED_SECONDS = tier.of(5, 300)
GROWN_SHARE_MOST = tier.of(0.05, 0.01)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + MINUTES * 90)]


def test_under_steady_traffic_memory_does_not_grow(tmp_path: Path) -> None:
    peer.path("wrk")
    workload.write(tmp_path / "deliveries", FILLING, 1, time.time())
    webhook = {"app_secrets": [APP_SECRET, workload.SECRET], "verify_tokens": [VERIFY_TOKEN]}
    with Sidecar(tmp_path, webhook=webhook) as sidecar, meta.of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        load.post(sidecar.webhook_url, tmp_path / "deliveries", FILLING_SECONDS)
        sidecar.settle(seconds=120)
        assert sidecar.metric("whatsapp_monitor_deliveries_total", outcome="accepted") > FILLED
        held: list[tuple[float, float]] = []
        began_at = time.monotonic()
        with sender.flooding(Traffic(1).delivery, threads=THREADS, pause_seconds=PAUSE_SECONDS):
            while (passed := time.monotonic() - began_at) < MINUTES * 60:
                time.sleep(0.1 if MINUTES < 1 else 1)
                if passed > SETTLED_SECONDS:
                    held.append((passed, memory.resident_mebibytes(sidecar.pid)))

    slope, start = statistics.linear_regression(*zip(*held, strict=True))
    first, last = (start + slope * at for at, _ in (held[0], held[-1]))
    share = last / first - 1
    print(f"{len(sender.acked)} were answered; memory: {first:.1f} MiB at first, {100 * share:+.2f} % by the end")  # noqa: T201
    assert share < GROWN_SHARE_MOST
