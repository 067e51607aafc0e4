"""Nobody's number or words leave the journal, and a forgotten person leaves that too."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import payloads
from tests.harness import exchange, meta, patience
from tests.harness.collector import Collector
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = pytest.mark.slow

CUSTOMER, OTHER, OWN = "15550100011", "15550100022", "15550100033"
USER_ID = "US.13491208655302741918"
NAME, TEXT, DETAILS = "Canary Yellowfeather", "canary words of a customer", "canary says +1 555 010 0011"
COMPANY = "Lucky Canary Ltd"
CANARIES = (CUSTOMER, OTHER, OWN, USER_ID, NAME, TEXT, DETAILS, COMPANY)
DESCRIPTION = f"Limits of {COMPANY}"


def change(**parts: Any) -> dict[str, Any]:
    made = payloads.change(NUMBER, **parts)
    made["value"]["metadata"]["display_phone_number"] = OWN
    made["value"]["contacts"] = [{"wa_id": CUSTOMER, "user_id": USER_ID, "profile": {"name": NAME}}]
    return made


def failed(wamid: str, code: int, recipient: str = CUSTOMER) -> dict[str, Any]:
    item = payloads.status(wamid, "failed", time.time(), recipient=recipient, codes=(code,))
    item["errors"][0].update(title=DETAILS, message=DETAILS, error_data={"details": DETAILS})
    return item


def everything(sender: Meta) -> None:
    """Send of each kind of webhook one that names people wherever it can."""
    now = time.time()
    message = {**payloads.message("wamid.in", now, sender=CUSTOMER), "text": {"body": TEXT}}
    unsupported = {**payloads.message("wamid.odd", now, sender=OTHER, message_type="unsupported"), "errors": [
        {"code": 131051, "title": DETAILS, "error_data": {"details": DETAILS}}]}  # fmt: skip
    both = {**payloads.status("wamid.both", "sent", now, recipient=CUSTOMER), "recipient_user_id": USER_ID}
    alert = {"alert_description": DESCRIPTION, "alert_type": "X"}
    account = [
        ("account_alerts", {"entity_type": "BUSINESS", "alert_info": alert}),
        ("phone_number_quality_update", {"display_phone_number": OWN, "event": "FLAGGED", "current_limit": "TIER_1K"}),
        ("phone_number_name_update", {"display_phone_number": OWN, "requested_verified_name": COMPANY}),
        ("user_preferences", {"user_preferences": [{"wa_id": CUSTOMER, "detail": TEXT, "value": "stop"}]}),
        ("security", {"display_phone_number": OWN, "event": "PIN_CHANGED", "requester": OTHER}),
        ("smb_message_echoes", {"message_echoes": [{"from": OWN, "to": CUSTOMER, "text": {"body": TEXT}}]}),
    ]  # fmt: skip
    changes = [
        change(statuses=[payloads.status("wamid.ok", "delivered", now, recipient=CUSTOMER), both]),
        change(messages=[message, unsupported]),
        change(statuses=[failed(f"wamid.{code}", code) for code in (131026, 131043, 131049, 131999)]),
        change(statuses=[failed(f"wamid.dup.{number}", 506) for number in range(6)]),
        change(errors=[{"code": 368, "title": DETAILS, "message": DETAILS, "error_data": {"details": DETAILS}}]),
        {"field": "messages", "value": {"statuses": [{"recipient_id": CUSTOMER, "status": TEXT}]}},
        *({"field": field, "value": value} for field, value in account),
    ]
    for one in changes:
        assert sender.post(payloads.delivery(one, waba_id=WABA_ID)).status == 200
    assert sender.post(b"{broken " + TEXT.encode()).status == 200


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path) as made:
        made.start()
        yield made


def names(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def test_no_number_and_no_text_is_in_anything_that_leaves(tmp_path: Path) -> None:
    with Collector() as collector, Target() as pager:
        tracing = {"endpoint": collector.endpoint, "sample": {"failed": 1.0, "default": 1.0}}
        alerts = {"webhooks": [{"url": pager.url}]}
        with Sidecar(tmp_path, tracing=tracing, alerts=alerts, messages={"check_every": "1s"}) as sidecar:
            sidecar.start("--log.level", "debug")
            with meta.of(sidecar) as sender:
                everything(sender)
                patience.until(lambda: sidecar.metric("whatsapp_monitor_journal_lag_events") == 0)
                patience.until(lambda: pager.received and collector.spans)
                answer = {"error": {"code": 368, "message": DETAILS, "error_data": {"details": DETAILS}}}
                sidecar.post("/v1/sends", phone_number_id=NUMBER, recipient=CUSTOMER, answer=answer)
                reads = (
                    "/", "/metrics", "/v1/pauses?all=true", "/v1/flags", "/v1/resends", "/v1/messages", "/v1/audit",
                    "/v1/campaigns", "/v1/incidents", f"/v1/messages?recipient={CUSTOMER}", "/v1/messages/wamid.ok",
                    f"/v1/gate?phone_number_id={NUMBER}&kind=free_form&recipient={CUSTOMER}", "/-/ready",
                )  # fmt: skip
                outputs = {path: sidecar.get(path).body.decode() for path in reads}
                for command in (
                    ("messages", "--json"),
                    ("flags",),
                    ("resends", "--json"),
                    ("incidents",),
                    ("pauses", "list"),
                ):
                    outputs[" ".join(command)] = sidecar.command(*command).stdout
            sidecar.terminate()
        outputs["log"] = sidecar.log
        outputs["spans"] = "".join(map(str, collector.requests))
        outputs["pages"] = "".join(repr(request) for request in pager.received)

    assert {name: found for name, text in outputs.items() if (found := names(text))} == {}
    assert "wamid.dup.0" in outputs["/v1/messages"], "the run said nothing, so it proves nothing"


def test_a_pasted_number_finds_its_timeline_by_either_of_a_person_s_ids(sidecar: Sidecar) -> None:
    with meta.of(sidecar) as sender:
        now = time.time()
        early = payloads.status("wamid.early", "sent", now, recipient=CUSTOMER)
        later = {**payloads.status("wamid.later", "sent", now, recipient=CUSTOMER), "recipient_user_id": USER_ID}
        only = {**payloads.status("wamid.only", "sent", now), "recipient_user_id": USER_ID}
        del only["recipient_id"]
        sender.statuses(early, payloads.status("wamid.other", "sent", now, recipient=OTHER))
        sender.statuses(later)
        sender.statuses(only)
        sidecar.settle()

    for written in (CUSTOMER, "%2B1 (555) 010-0011", USER_ID):
        found = sidecar.get(f"/v1/messages?recipient={written.replace(' ', '%20')}").json()["messages"]
        assert {one["wamid"] for one in found} == {"wamid.early", "wamid.later", "wamid.only"}, written


def test_a_forgotten_person_is_gone_from_every_file_and_others_stay(sidecar: Sidecar) -> None:
    with meta.of(sidecar) as sender:
        everything(sender)
        sender.statuses(
            payloads.status("wamid.mine", "sent", time.time(), recipient=CUSTOMER),
            payloads.status("wamid.theirs", "sent", time.time(), recipient=OTHER),
        )
        sidecar.settle()

    said = sidecar.command("messages", "forget", "--recipient", "+1 555-010-0011", "--reason", "asked to be forgotten")
    assert said.returncode == 0, said.stderr
    assert "Forgotten" in said.stdout
    left = {one["wamid"] for one in sidecar.get("/v1/messages").json()["messages"]}
    assert "wamid.theirs" in left
    assert "wamid.mine" not in left
    assert sidecar.get(f"/v1/messages?recipient={CUSTOMER}").json()["messages"] == []
    sidecar.kill()

    files = b"".join(file.read_bytes() for file in sidecar.directory.glob("monitor.db*"))
    assert [one for one in (CUSTOMER, USER_ID, NAME) if one.encode() in files] == []
    assert OTHER.encode() in files

    sidecar.start()
    assert sidecar.get("/v1/messages").json()["messages"], "the rest is still there after a restart"


def test_what_waits_to_be_forwarded_is_left_and_said(tmp_path: Path) -> None:
    with Target() as application:
        application.status = 503
        with Sidecar(tmp_path, forward=[{"name": "app", "url": application.url}]) as sidecar:
            sidecar.start()
            with meta.of(sidecar) as sender:
                sender.statuses(payloads.status("wamid.1", "sent", time.time(), recipient=CUSTOMER))
                patience.until(lambda: application.heard)
            ask = {"actor": "ann", "reason": "asked", "recipient": CUSTOMER}

            waiting = sidecar.post("/v1/people/forget", **ask).json()
            application.status = 200
            patience.until(lambda: application.received, seconds=60)
            sidecar.settle()
            done = sidecar.post("/v1/people/forget", **ask).json()

    assert waiting == {"entries": 0, "waiting": 1}
    assert done == {"entries": 1, "waiting": 0}
    assert CUSTOMER.encode() in application.received[0].body


def test_a_new_hash_key_finds_stops_and_forgets_whom_the_old_one_knew(tmp_path: Path) -> None:
    send = json.dumps(
        {"messaging_product": "whatsapp", "to": CUSTOMER, "type": "text", "text": {"body": "hi"}}
    ).encode()
    path, headers = (
        f"/graph/v23.0/{NUMBER}/messages",
        {"Content-Type": "application/json", "Idempotency-Key": "order-1"},
    )
    ask = {"actor": "ann", "reason": "asked"}
    with Graph() as graph, Sidecar(tmp_path, graph={"url": graph.url}) as sidecar, meta.of(sidecar) as sender:
        sidecar.start()
        first = exchange.ask(sidecar.web_port, "POST", path, send, headers)
        assert first.status == 200
        sender.post(payloads.delivery(change(messages=[payloads.message("wamid.in", time.time(), sender=CUSTOMER)])))
        sender.statuses(payloads.status("wamid.before", "sent", time.time(), recipient=CUSTOMER))
        sidecar.settle()
        assert sidecar.post("/v1/pauses", **ask, scope="recipient", scope_id=CUSTOMER).status == 201
        sidecar.terminate()
        key = tmp_path / "hash.key"
        key.write_text(f"{'0f' * 32}\n{key.read_text()}\n")

        sidecar.start()
        sender.statuses(payloads.status("wamid.after", "sent", time.time(), recipient=CUSTOMER))
        sidecar.settle()
        again = exchange.ask(sidecar.web_port, "POST", path, send, headers)
        other = exchange.ask(sidecar.web_port, "POST", path, send, {**headers, "Idempotency-Key": "order-2"})
        gates = [
            sidecar.get(f"/v1/gate?phone_number_id={NUMBER}&recipient={one}").status
            for one in (CUSTOMER, OTHER, USER_ID)
        ]
        found = sidecar.get(f"/v1/messages?recipient={CUSTOMER}").json()["messages"]
        forgotten = sidecar.post("/v1/people/forget", **ask, recipient=CUSTOMER)
        left = sidecar.get("/v1/messages").json()["messages"]

    assert (again.body, again.headers["idempotency-replayed"]) == (first.body, "true")
    assert len(graph.requests) == 1, "a repetition left, or what is paused did"
    assert other.status >= 400
    assert gates == [403, 200, 403]
    hashes = {one["wamid"]: one["recipient"] for one in found}
    assert {"wamid.before", "wamid.after", "wamid.in"} <= set(hashes)
    assert hashes["wamid.before"] != hashes["wamid.after"]
    assert forgotten.status == 200
    assert left == []


def test_the_number_inside_a_wamid_is_meta_s_own_and_stays_out_of_metrics_and_logs(sidecar: Sidecar) -> None:
    wamid = "wamid." + base64.b64encode(b"\x1d\x18\x0b" + CUSTOMER.encode() + b"\x15\x02").decode()
    with meta.of(sidecar) as sender:
        sender.statuses(payloads.status(wamid, "failed", time.time(), recipient=CUSTOMER, codes=(131026,)))
        sidecar.settle()

    assert wamid not in sidecar.get("/metrics").body.decode()
    assert wamid not in sidecar.log
