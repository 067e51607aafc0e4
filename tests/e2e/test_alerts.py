"""Shipped alerts fire and clear on a real Prometheus that scrapes the sidecar, sixty times as fast as written."""

import contextlib
import re
import time
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import meta, patience
from tests.harness.meta import Meta
from tests.harness.prometheus import RULES, Prometheus
from tests.harness.sidecar import CORE_RULES, Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FASTER = {"h": "m", "m": "s"}
FIRED = {
    "WhatsAppSignatureFailures", "WhatsAppUnparsed", "WhatsAppDuplicateBurst", "WhatsAppResendsPending",
    "WhatsAppFailureRatioHigh", "WhatsAppDeliveryBudgetBurns", "WhatsAppMonitorReloadFailed",
    "WhatsAppMonitorOutboxOld", "WhatsAppMonitorOutboxDead",
}  # fmt: skip


def hurried(text: str) -> str:
    """Return rules in which hours are minutes, minutes seconds, and five minutes' age five seconds."""
    text = re.sub(
        r"(\[|offset |for: )(\d+)([hm])\b", lambda found: f"{found[1]}{found[2]}{FASTER[found[3]]}", text
    )  # fmt: skip
    assert text.count("oldest_seconds) > 300") <= 1
    return text.replace("oldest_seconds) > 300", "oldest_seconds) > 5")


def firing(prometheus: Prometheus) -> set[str]:
    return {name for name in FIRED if prometheus.firing(name)}


def hear(prometheus: Prometheus, heard: set[str]) -> set[str]:
    heard |= firing(prometheus)
    return heard


def fail_much(sender: Meta) -> None:
    now = time.time()
    failed = [payloads.status(f"wamid.failed.{number}", "failed", now, codes=(131000,)) for number in range(60)]
    assert sender.statuses(*failed).status == 200
    for number in range(6):
        again = payloads.status(f"wamid.again.{number}", "failed", now, codes=(506,))
        assert sender.statuses(again).status == 200
    assert sender.statuses(payloads.status("wamid.late", "failed", now, codes=(131043,))).status == 200


def test_alerts_fire_while_all_is_wrong_and_clear_when_it_is_mended(tmp_path: Path) -> None:
    rules = []
    for file in RULES:
        rules.append(tmp_path / file.name)
        rules[-1].write_text(hurried(file.read_text(encoding="utf-8")), encoding="utf-8")
    with Target() as absent, Target() as choosy:
        absent.down()
        choosy.status = 400
        forward = [{"name": "absent", "url": absent.url}, {"name": "choosy", "url": choosy.url}]
        with (
            Sidecar(tmp_path, forward=forward) as sidecar,
            meta.of(sidecar) as sender,
            Prometheus(tmp_path / "prometheus", sidecar.web_port, rules) as prometheus,
        ):
            sidecar.start()
            patience.until(lambda: sender.statuses(payloads.status("wamid.first", "sent", time.time())))
            patience.until(lambda: prometheus.query('whatsapp_statuses_total{status="failed"}'), seconds=10)
            assert firing(prometheus) == set()

            with Meta(sidecar.webhook_port, secret="another-app-s-secret-0123456789") as stranger:
                for number in range(20):
                    assert stranger.error(number + 1).status == 401
            assert sender.post(b'{"object": "whatsapp_business_account", "entry": 7}').status == 200
            fail_much(sender)
            sidecar.configure(rules={"files": [str(tmp_path / "absent.yml")]})
            assert sidecar.reload().status == 500
            heard: set[str] = set()
            with contextlib.suppress(AssertionError):
                patience.until(lambda: hear(prometheus, heard) == FIRED, seconds=60, every=0.5)
            assert heard == FIRED

            sidecar.configure(rules={"files": [str(CORE_RULES)]}, forward=forward)
            assert sidecar.reload().status == 200
            absent.up()
            choosy.status = 200
            act = {"actor": "ann", "reason": "mended"}
            assert sidecar.post("/v1/outbox/retry", destination="choosy", **act).status == 200
            for flag in sidecar.get("/v1/flags").json()["flags"]:
                assert sidecar.post(f"/v1/flags/{flag['id']}/resolve", **act).status == 200
            claimed = sidecar.post("/v1/resends/claim", actor="ann", limit=100, lease="5m").json()["resends"]
            for resend in claimed:
                assert sidecar.post(f"/v1/resends/{resend['id']}/ack", outcome="dropped", **act).status == 200
            patience.until(lambda: firing(prometheus) == set(), seconds=120, every=0.5)
