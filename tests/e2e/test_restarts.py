"""Paused stays paused: the gate is asked a hundred times a second through kills, stops, broken reloads and floods."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness import asking, exchange, meta, patience, tier
from tests.harness.meta import NUMBER, Traffic
from tests.harness.sidecar import CORE_RULES, Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.loss, pytest.mark.timeout(tier.of(180, 900))]

ROUNDS = tier.of(5, 25)


@contextmanager
def asked(sidecar: Sidecar, path: str) -> Iterator[Counter[int]]:
    """Ask the gate all the while; count its answers by status."""
    answers: Counter[int] = Counter()

    def ask() -> None:
        try:
            answers[exchange.ask(sidecar.web_port, "GET", path).status] += 1
        except OSError:
            answers[0] += 1

    with asking.meanwhile(ask):
        yield answers


def test_no_send_is_allowed_while_paused_whatever_happens_to_us(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
        flood = sender.flooding(Traffic(1).delivery, threads=2, pause_seconds=0.002)
        with asked(sidecar, f"/v1/gate/{NUMBER}") as answers, flood:
            for _ in range(ROUNDS):
                sidecar.kill()
                sidecar.start("--log.level", "error")
                sidecar.configure(rules={"files": ["absent.yml"]})
                sidecar.signal(signal.SIGHUP)
                time.sleep(0.2)
                sidecar.configure(rules={"files": [str(CORE_RULES)]})
                assert sidecar.terminate() == 0
                sidecar.start("--log.level", "error")

        assert answers[200] == 0
        assert answers[403] > 100
        assert set(answers) <= {0, 403}


def test_the_asking_sees_a_send_that_is_allowed(tmp_path: Path) -> None:
    """The other arm: without a pause the same asking hears 200."""
    with Sidecar(tmp_path) as sidecar:
        sidecar.start("--log.level", "error")
        with asked(sidecar, f"/v1/gate/{NUMBER}") as answers:
            patience.until(lambda: answers[200] > 0)

    assert answers[403] == 0
