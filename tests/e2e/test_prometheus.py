"""A real Prometheus takes what /metrics says, exemplars too, and the shipped alerts fire and clear on it."""

import gzip
import random
import subprocess
import time
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import meta, patience, peer, series
from tests.harness.collector import Collector, attributes
from tests.harness.meta import NUMBER, WABA_ID, Meta, Traffic
from tests.harness.prometheus import JOB, Prometheus
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def busy(sidecar: Sidecar, sender: Meta) -> None:
    """Let something of each kind happen."""
    traffic = Traffic(seed=1, name="busy")
    for _ in range(30):
        assert sender.post(traffic.delivery()).status == 200
    for serial in range(5):
        item = payloads.status(f"wamid.506.{serial}", "failed", time.time(), codes=(506,))
        assert sender.statuses(item).status == 200
    assert sender.statuses(payloads.status("wamid.expired", "failed", time.time(), codes=(131043,))).status == 200
    assert sender.statuses(payloads.status("wamid.odd", 'odd \ud800 \x00 \n " status', time.time())).status == 200
    assert sender.post(b"no JSON").status == 200
    assert sender.post(payloads.delivery({"field": "account_update", "value": {"event": "X"}})).status == 200
    assert sender.error(368).status == 200
    patience.until(lambda: sidecar.get("/v1/pauses").json()["pauses"])
    sidecar.get(f"/v1/gate/{NUMBER}")
    sidecar.settle()


def test_promtool_finds_nothing_wrong_with_the_metrics(tmp_path: Path) -> None:
    promtool = peer.path("promtool")
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.start()
        fresh = sidecar.get("/metrics").body
        busy(sidecar, sender)
        used = sidecar.get("/metrics").body

    for page in (fresh, used):
        done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_metrics_come_in_the_format_and_encoding_that_are_asked_for(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar:
        sidecar.start()

        plain = sidecar.get("/metrics")
        open_metrics = sidecar.get("/metrics", Accept=OPEN_METRICS)
        compressed = sidecar.get("/metrics", Accept=OPEN_METRICS, Accept_Encoding="gzip")

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert open_metrics.headers["content-type"].startswith(OPEN_METRICS)
    assert open_metrics.body.endswith(b"# EOF\n")
    assert compressed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed.body).endswith(b"# EOF\n")


@pytest.mark.parametrize("name", ["whatsapp_statuses_total", "whatsapp_gate_paused", "whatsapp_monitor_journal_bytes"])
def test_a_scrape_may_ask_for_single_names(tmp_path: Path, name: str) -> None:
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.start()
        assert sender.statuses(payloads.status("wamid.one", "sent", time.time())).status == 200
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get("/v1/pauses").json()["pauses"])

        page = series.read(sidecar.get(f"/metrics?name[]={name}").body.decode())

    assert {sample for sample, _, _ in page.samples} == {name}


def test_prometheus_scrapes_us_and_keeps_exemplars_that_lead_to_the_trace(tmp_path: Path) -> None:
    with (
        Collector() as collector,
        Sidecar(tmp_path, tracing={"endpoint": collector.endpoint, "sample": {"default": 1.0}}) as sidecar,
        meta.of(sidecar) as sender,
        Prometheus(tmp_path / "prometheus", sidecar.web_port) as prometheus,
    ):
        sidecar.start()
        at = time.time() - 10
        assert sender.statuses(payloads.status("wamid.traced", "sent", at)).status == 200
        assert sender.statuses(payloads.status("wamid.traced", "delivered", at + 3)).status == 200

        delivered = f'whatsapp_statuses_total{{job="{JOB}",status="delivered",phone_number_id="{NUMBER}"}} == 1'
        patience.until(lambda: prometheus.query(delivered), every=0.2)
        exemplars = patience.until(lambda: prometheus.exemplars("whatsapp_delivery_seconds_bucket"), every=0.2)
        spans = patience.until(lambda: len(collector.spans) == 3 and collector.spans)  # with the summary of its life
        target = prometheus.target()

    assert (target["health"], target["lastError"]) == ("up", "")
    assert spans
    root = next(span for span in spans if not span.parent_span_id)
    assert {exemplar["trace_id"] for exemplar in exemplars} == {root.trace_id.hex()}
    assert {exemplar["span_id"] for exemplar in exemplars} == {root.span_id.hex()}
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert attributes(root)["messaging.operation.type"] == "send"


def test_the_shipped_alert_fires_on_a_pause_and_clears_after_its_release(tmp_path: Path) -> None:
    with (
        Sidecar(tmp_path) as sidecar,
        meta.of(sidecar) as sender,
        Prometheus(tmp_path / "prometheus", sidecar.web_port) as prometheus,
    ):
        sidecar.start()
        patience.until(lambda: prometheus.query(f'up{{job="{JOB}"}} == 1'), every=0.2)
        assert prometheus.firing("WhatsAppSendingPaused") == []

        assert sender.error(368).status == 200
        fired = patience.until(lambda: prometheus.firing("WhatsAppSendingPaused"), every=0.2)
        assert [(one["scope"], one["scope_id"], one["code"]) for one in fired] == [("waba", WABA_ID, "368")]
        assert fired[0]["severity"] == "critical"
        blocked = patience.until(lambda: prometheus.firing("WhatsAppPolicyBlock"), every=0.2)
        assert [one["waba_id"] for one in blocked] == [WABA_ID]

        pause = sidecar.get("/v1/pauses").json()["pauses"][0]
        assert sidecar.post(f"/v1/pauses/{pause['id']}/resume", actor="alice", reason="granted").status == 200
        patience.until(lambda: not prometheus.firing("WhatsAppSendingPaused"), every=0.2)


def test_whatever_somebody_with_the_secret_makes_up_the_page_stays_small(tmp_path: Path) -> None:
    chance = random.Random(1)

    def made_up(number: int) -> bytes:
        statuses = [
            payloads.status(
                f"wamid.{number}.{one}", chance.choice(["sent", f"status{chance.randrange(500)}"]), time.time(),
                category=f"category{chance.randrange(300)}", codes=(chance.randrange(100, 140_000),) * (one % 2),
            )
            for one in range(20)
        ]  # fmt: skip
        messages = [
            payloads.message(f"wamid.in.{number}.{one}", time.time(), message_type=f"type{chance.randrange(500)}")
            for one in range(5)
        ]
        template = {"event": "APPROVED", "message_template_id": number, "message_template_name": f"t{number}"}
        return payloads.delivery(
            payloads.change(f"2000{number:08d}", statuses=statuses, messages=messages, errors=[payloads.error(368)]),
            {"field": f"field{number}", "value": {"event": f"EVENT{number}"}},
            {"field": "message_template_status_update", "value": {**template, "message_template_language": "en"}},
            {"field": "account_review_update", "value": {"decision": "APPROVED"}},
            waba_id=f"1000{number:08d}",
        )

    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        for number in range(400):
            assert sender.post(made_up(number)).status == 200
        sidecar.settle(seconds=60)
        page = patience.until(lambda: sidecar.get("/metrics").body)

        assert len(series.read(page.decode()).samples) < 5_000
        assert len(page) < 2_000_000
        assert sidecar.metric("whatsapp_monitor_labels_dropped_total", label="series") > 0
        assert sidecar.metric("whatsapp_statuses_total") == 400 * 20
        assert sidecar.metric("whatsapp_gate_paused", scope_id="other") == 1
