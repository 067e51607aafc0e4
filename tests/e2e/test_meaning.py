"""What Meta says reaches metrics, rules, the gate and the list of resends of a real process."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import payloads
from monitor.store.tail import TAIL_BYTES
from tests.harness import memory, meta, patience
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import CORE_RULES, Sidecar

pytestmark = pytest.mark.slow

CUSTOMER = "15550100011"
SETTINGS: dict[str, Any] = {
    "messages": {
        "time_to_live": {"authentication": "2s", "other": "2s"}, "buffer": "0s", "settle": "1s", "silent_after": "1s",
        "check_every": "1s",
    },
    "campaigns": {"callback_path": "$.campaign"},
    "metrics": {"idle_after": "1d"},
    "rules": {"files": [str(CORE_RULES), str(CORE_RULES.with_name("extra.yml"))]},
    "codes": [{"code": 131777, "title": "Ours", "class": "policy_block", "hits": "waba", "advice": "Call Ann."}],
}  # fmt: skip


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path, **SETTINGS) as made:
        made.start()
        yield made


@pytest.fixture
def sender(sidecar: Sidecar) -> Iterator[Meta]:
    with meta.of(sidecar) as made:
        yield made


def test_silence_is_presumed_expiry_survives_a_crash_and_is_taken_back(sidecar: Sidecar, sender: Meta) -> None:
    sender.statuses(payloads.status("wamid.1", "sent", time.time()))
    sidecar.settle()
    sidecar.kill()
    sidecar.start()

    (resend,) = patience.until(lambda: sidecar.get("/v1/resends?state=pending").json()["resends"], seconds=15)
    patience.until(lambda: sidecar.metric("whatsapp_messages_presumed_expired_total") == 1)
    sender.statuses(payloads.status("wamid.1", "delivered", time.time()))
    patience.until(lambda: sidecar.metric("whatsapp_messages_presumed_expired_taken_back_total") == 1)

    assert (resend["wamid"], resend["reason"], resend["code"]) == ("wamid.1", "presumed_expired", 131043)
    assert sidecar.get("/v1/resends?state=superseded").json()["resends"][0]["reason"] == "arrived"
    assert sidecar.metric("whatsapp_errors_total", code="131043") == 0
    assert sidecar.metric("whatsapp_resends_total", outcome="superseded") == 1


def test_an_accepted_message_without_a_status_shows_as_silent_until_it_has_one(sidecar: Sidecar, sender: Meta) -> None:
    answer = {"messaging_product": "whatsapp", "messages": [{"id": "wamid.1"}]}
    sent = sidecar.post("/v1/sends", phone_number_id=NUMBER, waba_id=WABA_ID, template="offer", answer=answer)
    patience.until(lambda: sidecar.metric("whatsapp_messages_silent", phone_number_id=NUMBER) == 1)
    sender.statuses(
        payloads.status("wamid.1", "delivered", time.time()), payloads.status("wamid.2", "sent", time.time())
    )

    patience.until(lambda: sidecar.metrics().of("whatsapp_messages_silent") == [])
    patience.until(lambda: sidecar.metric("whatsapp_message_anomalies_total", anomaly="unknown_send") == 1)

    assert sent.status == 202
    assert sidecar.metric("whatsapp_sends_total", outcome="accepted") == 1
    assert sidecar.get("/v1/messages/wamid.1").json()["template"] == "offer"


def test_a_block_in_the_answer_to_a_send_pauses_before_any_webhook(sidecar: Sidecar, sender: Meta) -> None:
    sender.statuses(payloads.status("wamid.1", "delivered", time.time()))
    sidecar.settle()
    answer = {"error": {"code": 368, "message": "(#368)", "type": "OAuthException"}}
    sidecar.post("/v1/sends", phone_number_id=NUMBER, answer=answer)
    patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
    sender.error(368)
    end = int(time.time()) + 3600
    restriction = {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": end}
    value = {"event": "ACCOUNT_RESTRICTION", "restriction_info": [restriction]}
    sender.post(payloads.delivery({"field": "account_update", "value": value}, waba_id=WABA_ID, time=time.time()))
    sidecar.settle()

    (incident,) = sidecar.get("/v1/incidents").json()["incidents"]
    assert [one["origin"] for one in incident["witnesses"]] == ["send", "webhook", "account"]
    assert (incident["first_witness"], incident["until"]) == ("send", end)
    assert {pause["until"] for pause in sidecar.get("/v1/pauses").json()["pauses"]} == {end}
    patience.until(lambda: sidecar.metric("whatsapp_account_restricted", waba_id=WABA_ID) == 1)
    assert sidecar.metric("whatsapp_incidents_total", witness="send") == 1
    assert sidecar.metric("whatsapp_errors_total", code="368", origin="send") == 1

    closed = sidecar.command("incidents", "close", incident["id"], "--reason", "appeal granted")
    assert closed.returncode == 0, closed.stderr
    assert sidecar.post(f"/v1/incidents/{incident['id']}/close", actor="a", reason="b").status == 409


def test_the_gate_warns_of_a_closed_window_and_not_of_an_open_one(sidecar: Sidecar, sender: Meta) -> None:
    ask = f"/v1/gate?phone_number_id={NUMBER}&kind=free_form&recipient=%2B{CUSTOMER}"
    before = sidecar.get(ask)
    message = payloads.message("wamid.in", time.time(), sender=CUSTOMER)
    sender.post(payloads.delivery(payloads.change(NUMBER, messages=[message]), waba_id=WABA_ID))
    sidecar.settle()
    after = sidecar.get(ask)
    sidecar.kill()
    sidecar.start()

    assert (before.status, before.json()["reason"], before.headers["x-gate-warning"]) == (
        200,
        "window_closed",
        "window_closed",
    )
    assert before.json()["warnings"] == ["window_closed"]
    assert (after.status, after.json()) == (200, {"allow": True, "reason": "not_paused"})
    assert sidecar.get(ask).json() == after.json()
    assert sidecar.metric("whatsapp_conversation_windows_open", phone_number_id=NUMBER) == 1


def test_campaigns_are_counted_listed_and_exported(sidecar: Sidecar, sender: Meta) -> None:
    hours_ago = time.time() - 30 * 3600
    for number, names in enumerate((("sent", "delivered"), ("sent", "delivered", "read"), ("failed",))):
        for name in names:
            codes = (131026,) if name == "failed" else ()
            data = f'{{"campaign": "spring", "user": {number}}}'
            sender.statuses(
                payloads.status(
                    f"wamid.{number}", name, hours_ago, category="marketing", codes=codes, callback_data=data
                )
            )
    sidecar.settle()

    (campaign,) = sidecar.get("/v1/campaigns").json()["campaigns"]
    table, csv = sidecar.command("campaigns").stdout, sidecar.command("campaigns", "--csv").stdout
    hashed = sidecar.command("campaigns", "unengaged", "spring", "--after", "24h").stdout.splitlines()
    keyed = sidecar.command("campaigns", "unengaged", "spring", "--after", "24h", "--keys").stdout
    too_soon = sidecar.command("campaigns", "unengaged", "spring", "--after", "31h").stdout.splitlines()

    assert {name: campaign[name] for name in ("sent", "delivered", "read", "failed")} == {
        "sent": 3, "delivered": 2, "read": 1, "failed": 1,
    }  # fmt: skip
    assert campaign["failed_by_class"] == {"recipient": 1}
    assert campaign["billable"] == {"marketing": 2}
    assert campaign["rates"]["read"] == 0.5
    assert "spring" in table
    assert csv.splitlines()[1].startswith("spring,3,2,1,0,1,")
    assert [line.split(",")[1] for line in hashed[1:]] == ["wamid.0"]
    assert '""user"": 0' in keyed
    assert too_soon == ["recipient,wamid,delivered_at"]
    patience.until(lambda: sidecar.metric("whatsapp_campaign_messages", campaign="spring", outcome="read") == 1)


def test_a_code_of_one_s_own_is_known_and_a_stranger_s_is_new_once(sidecar: Sidecar, sender: Meta) -> None:
    sender.error(131777)
    for number in range(3):
        sender.statuses(payloads.status(f"wamid.{number}", "failed", time.time(), codes=(131999,)))
    sidecar.settle()

    patience.until(lambda: sidecar.metric("whatsapp_errors_total", code="131777") == 1)
    patience.until(lambda: sidecar.metric("whatsapp_errors_total", code="other") == 3)
    assert sidecar.metric("whatsapp_monitor_events_total", kind="new_code") == 1
    assert sidecar.log.count("new_code_seen") == 1
    assert len(sidecar.get("/v1/incidents").json()["incidents"]) == 1
    said = sidecar.command("explain", "code", "131777", "--config.file", str(sidecar.config_file))
    assert "Call Ann." in said.stdout


def test_a_flood_of_made_up_numbers_leaves_memory_and_metrics_bounded(sidecar: Sidecar, sender: Meta) -> None:
    def flood(start: int, count: int) -> None:
        for first in range(start, start + count, 500):
            changes = [
                payloads.change(f"9{number:014d}", statuses=[payloads.status(f"wamid.{number}", "sent", time.time())])
                for number in range(first, first + 500)
            ]
            assert sender.deliver(payloads.delivery(*changes, waba_id=f"8{first:014d}"), seconds=30)
        sidecar.settle(seconds=60)

    flood(0, 20_000)
    size, before = len(sidecar.get("/metrics").body), memory.resident_mebibytes(sidecar.pid)
    flood(20_000, 80_000)
    time.sleep(1.1)

    assert len(sidecar.get("/metrics").body) < size * 1.1
    tail_mebibytes = TAIL_BYTES / 2**20  # what the journal may keep in memory for a pipeline that is behind
    assert memory.resident_mebibytes(sidecar.pid) < before + tail_mebibytes + 20
    assert sidecar.metric("whatsapp_monitor_labels_dropped_total", label="phone_number_id") > 90_000
    assert sidecar.get(f"/v1/gate/9{99_999:014d}").status == 200
