"""One trouble after the other under steady traffic: at the end everything that was promised holds.

As part of each run every trouble comes once; `scripts/soak` goes on for an hour with one a minute.
"""

import os
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.harness import asker, memory, meta, patience, peer, promises, tier, troubles
from tests.harness.alertmanager import Alertmanager
from tests.harness.asker import Asked
from tests.harness.meta import NUMBER, Traffic
from tests.harness.sidecar import CORE_RULES, Sidecar
from tests.harness.target import Target
from tests.harness.troubles import Scene

MINUTES = float(os.environ.get("WHATSAPP_MONITOR_SOAK_MINUTES", tier.of(0, 60)))
SEED = int(os.environ.get("WHATSAPP_MONITOR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
TROUBLE_SECONDS = 5.0 if MINUTES else 0.7
BETWEEN_SECONDS = 60.0 if MINUTES else 0.2
THREADS, PAUSE_SECONDS = 2, 0.015 if MINUTES else 0.005
MEBIBYTES_MOST = 256

pytestmark = [pytest.mark.slow, pytest.mark.loss, pytest.mark.timeout(300 + MINUTES * 90)]


def test_after_an_hour_of_troubles_nothing_is_lost_doubled_or_wrongly_allowed(tmp_path: Path) -> None:
    print(f"WHATSAPP_MONITOR_TEST_SEED={SEED}")  # noqa: T201 (shown with a failure, to play it again)
    peer.path("prometheus-alertmanager")
    chance = random.Random(SEED)
    pager, answers = Target(), tmp_path / "answers"
    alertmanager = Alertmanager(tmp_path / "alertmanager", pager.url)
    with Target() as target, pager:
        alertmanager.up()
        settings: dict[str, Any] = {
            "forward": [{"name": "app", "url": target.url}],
            "alerts": {"alertmanagers": [{"url": alertmanager.url}]},
            "rules": {"files": [str(CORE_RULES)]},
        }
        with Sidecar(tmp_path, **settings) as sidecar, meta.of(sidecar) as sender:
            sidecar.start("--log.level", "error")
            assert sender.error(368).status == 200
            patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
            scene = Scene(sidecar, target, alertmanager, settings, chance, TROUBLE_SECONDS)
            flood = sender.flooding(Traffic(SEED).delivery, threads=THREADS, pause_seconds=PAUSE_SECONDS)
            spans: list[tuple[str, float, float]] = []
            mebibytes = 0.0
            with asker.asking(sidecar.web_port, f"/v1/gate/{NUMBER}", answers), flood:
                for trouble in order(chance):
                    begun = time.monotonic()
                    trouble(scene)
                    spans.append((trouble.__name__, begun, time.monotonic()))
                    while time.monotonic() < begun + BETWEEN_SECONDS:
                        time.sleep(min(1.0, BETWEEN_SECONDS))
                        mebibytes = max(mebibytes, memory.resident_mebibytes(sidecar.pid))
            acked = set(sender.acked)
            sidecar.settle(seconds=600)
            told = asker.read(answers)
            patience.until(lambda: pager.received)
            mebibytes = max(mebibytes, memory.resident_mebibytes(sidecar.pid))
            assert sidecar.metric("whatsapp_monitor_journal_lost_entries") == 0
            assert sidecar.metric("whatsapp_monitor_outbox_dead") == 0
            promises.assert_held(
                sidecar,
                acked,
                forwarded=[request.body for request in target.received],
                answers=[one.status for one in told],
            )
        alertmanager.down()

        print(f"{len(acked)} were answered 200, {len(told)} times the gate was asked, at most {mebibytes:.0f} MiB")  # noqa: T201
        for name, taken in slowest(spans, told).items():
            print(f"{name}: gate p99 {1000 * taken:.1f} ms")  # noqa: T201
        assert len([one for one in told if one.status]) > 100
        assert mebibytes < MEBIBYTES_MOST


def order(chance: random.Random) -> list[troubles.Trouble]:
    """Return every trouble once, or as many as there are minutes, each as often as the others."""
    found: list[troubles.Trouble] = []
    while len(found) < max(MINUTES, 1 if MINUTES else len(troubles.ALL)):
        found.extend(chance.sample(troubles.ALL, len(troubles.ALL)))
    return found[: int(MINUTES) or len(troubles.ALL)]


def slowest(spans: list[tuple[str, float, float]], told: list[Asked]) -> dict[str, float]:
    """Return the gate's p99 while each trouble lasted, of those that leave the process running."""
    during: dict[str, list[Asked]] = defaultdict(list)
    for name, begun, ended in spans:
        if name not in {one.__name__ for one in troubles.STOPPING}:
            during[name].extend(one for one in told if begun <= one.at < ended)
    return {name: asker.p99(found) for name, found in sorted(during.items())}
