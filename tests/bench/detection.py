"""How soon a block is acted upon and told: by us, and by Prometheus and Alertmanager over the same sidecar's metrics.

`python -m tests.bench.detection` takes two minutes and needs Debian's prometheus and prometheus-alertmanager. It
scrapes and evaluates every 15 seconds; Alertmanager calls its webhook at once, which is more than most let it.
"""

import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from monitor import payloads
from tests.bench import load
from tests.harness import meta, patience
from tests.harness.alertmanager import Alertmanager
from tests.harness.meta import Meta
from tests.harness.prometheus import Prometheus
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

INTERVAL_SECONDS = 15
BLOCKS, APART_SECONDS = 10, 7.3  # no multiple of the interval: each block comes at another time within it
OURS, THEIRS = "policy_block", "WhatsAppPolicyBlock"


class Detected(msgspec.Struct, frozen=True):
    """Seconds from posting each block until our gate denies, our alert is heard, and Prometheus' alert is heard."""

    paused: tuple[float, ...]
    told: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def pause_ratio(self) -> float:
        """How many times sooner our pause is, of the medians."""
        return statistics.median(self.theirs) / statistics.median(self.paused)

    @property
    def alert_ratio(self) -> float:
        """How many times sooner our alert is, of the medians."""
        return statistics.median(self.theirs) / statistics.median(self.told)


def measure() -> Detected:
    """Block one account after the other."""
    with tempfile.TemporaryDirectory() as name, Target() as pager:
        folder = Path(name)
        with (
            Alertmanager(folder / "alertmanager", pager.url) as alertmanager,
            Sidecar(folder, alerts={"alertmanagers": [{"url": alertmanager.url}]}) as sidecar,
            meta.of(sidecar) as sender,
        ):
            sidecar.start()
            wabas = [f"30000000{number:04d}" for number in range(BLOCKS)]
            for waba_id in wabas:
                status = payloads.status(f"wamid.{waba_id}", "sent", time.time())
                assert sender.statuses(status, number=f"4{waba_id}", waba_id=waba_id).status == 200
            with Prometheus(
                folder / "prometheus", sidecar.web_port, seconds=INTERVAL_SECONDS, alertmanager_port=alertmanager.port
            ) as prometheus:
                patience.until(lambda: prometheus.query('up{job="whatsapp-monitor"} == 1'), seconds=40, every=0.2)
                time.sleep(INTERVAL_SECONDS)
                return _raced(sidecar, sender, pager, wabas)


def _raced(sidecar: Sidecar, sender: Meta, pager: Target, wabas: list[str]) -> Detected:
    posted_at, paused = {}, []
    gate = http.client.HTTPConnection("127.0.0.1", sidecar.web_port)
    for waba_id in wabas:
        started_at = time.monotonic()
        posted_at[waba_id] = time.time()
        sender.error(368, number=f"4{waba_id}", waba_id=waba_id)
        while _ask(gate, waba_id) != 403:
            pass
        paused.append(time.monotonic() - started_at)
        time.sleep(APART_SECONDS)
    patience.until(lambda: len(_heard(pager, THEIRS)) == len(wabas), seconds=90, every=0.5)
    ours, theirs = _heard(pager, OURS), _heard(pager, THEIRS)
    return Detected(
        tuple(paused),
        tuple(ours[one] - posted_at[one] for one in wabas),
        tuple(theirs[one] - posted_at[one] for one in wabas),
    )


def _ask(gate: http.client.HTTPConnection, waba_id: str) -> int:
    gate.request("GET", f"/v1/gate?waba_id={waba_id}")
    answer = gate.getresponse()
    answer.read()
    return answer.status


def _heard(pager: Target, name: str) -> dict[str, float]:
    """Return when each account's alert of a name was first heard."""
    heard: dict[str, float] = {}
    for request in list(pager.received):
        for alert in json.loads(request.body)["alerts"]:
            if alert["labels"]["alertname"] == name:
                heard.setdefault(alert["labels"]["waba_id"], request.at)
    return heard


def main() -> None:
    """Measure, and print."""
    found = measure()
    for what, seconds in (("our gate denies", found.paused), ("our alert", found.told), ("theirs", found.theirs)):
        ordered = sorted(seconds)
        print(f"{what}: median {statistics.median(ordered):.4f} s, p99 {load.percentile(ordered, 0.99):.4f} s")
    print(f"pause {found.pause_ratio:,.0f} x sooner, alert {found.alert_ratio:,.0f} x sooner")


if __name__ == "__main__":
    main()
