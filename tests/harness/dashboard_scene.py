"""A scene that shows all that a dashboard can show: simulated traffic with an incident, and what else may happen.

It ends in the middle of a second block, as an engineer sees it who was just woken.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from monitor import payloads
from monitor.client import Gate
from tests.harness import exchange, meta, patience, ports
from tests.harness.collector import Collector
from tests.harness.meta import Meta
from tests.harness.prometheus import Prometheus
from tests.harness.sidecar import APP_SECRET, CORE_RULES, ROOT, Sidecar
from tests.harness.target import Target

SECONDS = 27  # of simulated traffic: its incident begins after 5, its block after 10 and ends after 20
WABA_ID = "100000000000001"
BUSY, QUIET = "200000000000001", "200000000000002"
RULES = "override: [{name: throughput_exceeded, mode: enforce}]\n"
MESSAGES = {
    "time_to_live": {"authentication": "3s", "other": "3s"},
    "buffer": "1s",
    "settle": "1s",
    "silent_after": "3s",
    "check_every": "1s",
}
ACT = {"actor": "ann", "reason": "an appeal"}


class Played(NamedTuple):
    """The Prometheus that has scraped the scene, and from when to when that lasted."""

    prometheus: Prometheus
    start: float
    end: float


@contextlib.contextmanager
def played(directory: Path) -> Iterator[Played]:
    """Play the scene, and yield it while its Prometheus may be asked."""
    graph = f"127.0.0.1:{ports.free()}"
    (directory / "own.yml").write_text(RULES, encoding="utf-8")
    with Collector() as collector, Target() as application, Target() as refusing:
        refusing.status = 400
        forwards = [{"name": "app", "url": application.url}, {"name": "crm", "url": refusing.url}]
        settings: dict[str, Any] = {
            "rules": {"files": [str(CORE_RULES), str(CORE_RULES.with_name("extra.yml")), "own.yml"]},
            "forward": forwards,
            "graph": {"url": f"http://{graph}"},
            "messages": MESSAGES,
            "tracing": {"endpoint": collector.endpoint, "sample": {"default": 1.0}},
        }
        with (
            Sidecar(directory, **settings) as sidecar,
            Prometheus(directory / "prometheus", sidecar.web_port) as prometheus,
            meta.of(sidecar) as sender,
        ):
            sidecar.start()
            patience.until(lambda: prometheus.query("whatsapp_monitor_build_info"), seconds=20, every=0.2)
            start = time.time()
            with Gate(sidecar.web_url, name="app-1"), _traffic(sidecar, graph) as traffic:
                patience.until(lambda: sidecar.metric("whatsapp_statuses_total", status="sent"), seconds=20, every=0.2)
                _statements(sender, is_trouble=False)
                _drilled(sidecar)
                _oddities(sidecar, sender)
                refusing.status = 200
                patience.until(lambda: "policy_block" in _pausing(sidecar), seconds=20)
                time.sleep(3)
                _leaks(sender, "leak")
                _statements(sender, is_trouble=True)
                assert sidecar.reload().status == 200
                assert traffic.wait(60) == 0
                _second_block(sidecar, sender)
                time.sleep(3)
                _leaks(sender, "leak again")
                patience.until(lambda: prometheus.firing("WhatsAppSendingPaused"), seconds=20)
                time.sleep(3)  # a few scrapes of how it stands now
            yield Played(prometheus, start, time.time())


@contextlib.contextmanager
def _traffic(sidecar: Sidecar, graph: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        *(sys.executable, "-m", "monitor", "simulate", "--secret", APP_SECRET, "--seconds", str(SECONDS)),
        *("--webhook", sidecar.webhook_url, "--web", sidecar.web_url, "--rate", "20", "--graph.listen-address", graph),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _statements(sender: Meta, *, is_trouble: bool) -> None:
    """Let Meta say something of everything that it speaks of, good or bad."""
    now = time.time()
    template = {"message_template_id": 7, "message_template_name": "spring_offer", "message_template_language": "en_US"}
    other = {**template, "message_template_id": 8, "message_template_name": "winter_sale"}
    number = {"display_phone_number": "15550000000", "max_daily_conversations_per_business": "TIER_1K"}
    restriction = {"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION", "expiration": int(now) + 3 * 86400}
    restricted = {"event": "ACCOUNT_RESTRICTION", "restriction_info": [restriction]}
    for field, value in (
        ("phone_number_quality_update", {**number, "event": "FLAGGED" if is_trouble else "UNFLAGGED"}),
        ("message_template_status_update", {**template, "event": "APPROVED"}),
        ("message_template_status_update", {**other, "event": "PAUSED" if is_trouble else "APPROVED"}),
        ("message_template_quality_update", {**template, "new_quality_score": "YELLOW" if is_trouble else "GREEN"}),
        ("message_template_quality_update", {**other, "new_quality_score": "RED" if is_trouble else "YELLOW"}),
        ("account_review_update", {"decision": "APPROVED"}),
        ("account_update", restricted if is_trouble else {"event": "VERIFIED_ACCOUNT"}),
    ):
        change = {"field": field, "value": value}
        assert sender.post(payloads.delivery(change, waba_id=WABA_ID, time=now)).status == 200


def _oddities(sidecar: Sidecar, sender: Meta) -> None:
    """Let happen what should not: what cannot be read, is not signed, comes twice, or is a stranger's."""
    assert sender.post(b"no JSON").status == 200
    body = meta.delivery("wamid.scene.forged")
    exchange.ask(sidecar.webhook_port, "POST", meta.PATH, body, meta.signed(body, "x" * 32))
    twice = meta.delivery("wamid.scene.twice")
    assert [sender.post(twice).status, sender.post(twice).status] == [200, 200]
    assert sender.statuses(payloads.status("wamid.scene.stranger", "sent", time.time()), number=BUSY).status == 200
    message = {"messaging_product": "whatsapp", "to": "15550000009", "type": "text", "text": {"body": "hello"}}
    headers = {"Authorization": "Bearer demo", "Content-Type": "application/json", "Idempotency-Key": "order-7"}
    for _ in range(2):
        sent = json.dumps(message).encode()
        exchange.ask(sidecar.web_port, "POST", f"/graph/v23.0/{BUSY}/messages", sent, headers)


def _drilled(sidecar: Sidecar) -> None:
    where = ("--config.file", str(sidecar.config_file), "--webhook", sidecar.webhook_url.removesuffix("/webhook"))
    sidecar.command("drill", "368", *where)


def _pausing(sidecar: Sidecar) -> set[str]:
    """Return the rules that pause something now, the drill's account excepted."""
    pauses = sidecar.get("/v1/pauses").json()["pauses"]
    return {one["rule"] for one in pauses if one["scope_id"] == WABA_ID}


def _leaks(sender: Meta, name: str) -> None:
    """Send past the gate while it denies."""
    items = [payloads.status(f"wamid.scene.{name}.{serial}", "sent", time.time()) for serial in range(3)]
    assert sender.statuses(*items, number=BUSY).status == 200


def _second_block(sidecar: Sidecar, sender: Meta) -> None:
    """Slow one number down, probe whether the other may go on, and have Meta block the account again."""
    too_fast = [
        payloads.status(f"wamid.scene.fast.{serial}", "failed", time.time(), codes=(130429,)) for serial in range(12)
    ]
    assert sender.statuses(*too_fast, number=QUIET).status == 200
    identity = sidecar.post("/v1/pauses", scope="phone_number", scope_id=BUSY, **ACT).json()["pause"]["id"]
    assert sidecar.post(f"/v1/pauses/{identity}/resume", probe=True, **ACT).status == 200
    duplicates = [
        payloads.status(f"wamid.scene.506.{serial}", "failed", time.time(), codes=(506,)) for serial in range(6)
    ]
    assert sender.statuses(*duplicates, number=QUIET).status == 200
    assert sender.error(368, number=QUIET, waba_id=WABA_ID).status == 200
