"""Incidents from Meta's first word to the release: pauses, flags and resends of a real process, across crashes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import payloads
from tests.harness import meta, patience
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import Sidecar

OTHER_NUMBER = "200000000000002"
OTHER_WABA_ID = "100000000000009"
OTHER_WABAS_NUMBER = "200000000000009"


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path) as made:
        made.start()
        yield made


@pytest.fixture
def sender(sidecar: Sidecar) -> Iterator[Meta]:
    with meta.of(sidecar) as made:
        yield made


def paused(sidecar: Sidecar) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sidecar.get("/v1/pauses").json()["pauses"]
    return found


def wait_for_pause(sidecar: Sidecar) -> dict[str, Any]:
    return patience.until(lambda: paused(sidecar))[0]


def flags(sidecar: Sidecar) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sidecar.get("/v1/flags?open=true").json()["flags"]
    return found


def resends(sidecar: Sidecar, state: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sidecar.get(f"/v1/resends?state={state}").json()["resends"]
    return found


def duplicates(sender: Meta, serials: range) -> None:
    """Report that messages were rejected as repetitions."""
    for serial in serials:
        item = payloads.status(f"wamid.506.{serial}", "failed", time.time(), codes=(506,), callback_data="import")
        assert sender.statuses(item).status == 200


def wait_for_status(sidecar: Sidecar, wamid: str, count: int) -> dict[str, Any]:
    """Return a message once its timeline has so many steps."""

    def known() -> dict[str, Any] | None:
        answer = sidecar.get(f"/v1/messages/{wamid}")
        if answer.status != 200:
            return None
        found: dict[str, Any] = answer.json()
        return found if len(found["timeline"]) >= count else None

    found = patience.until(known)
    assert found is not None
    return found


def test_a_policy_block_closes_the_gate_in_all_its_forms_and_for_nobody_else(sidecar: Sidecar, sender: Meta) -> None:
    at = time.time()
    for number, waba_id in ((NUMBER, WABA_ID), (OTHER_NUMBER, WABA_ID), (OTHER_WABAS_NUMBER, OTHER_WABA_ID)):
        item = payloads.status(f"wamid.{number}", "sent", at)
        assert sender.statuses(item, number=number, waba_id=waba_id).status == 200
    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 200

    assert sender.error(368).status == 200
    wait_for_pause(sidecar)

    uri = f"/v23.0/{NUMBER}/messages"
    denials = [
        sidecar.get(f"/v1/gate/{NUMBER}"),
        sidecar.get(f"/v1/gate/{OTHER_NUMBER}"),
        sidecar.get(f"/v1/gate?phone_number_id={NUMBER}&category=service"),
        sidecar.get(f"/v1/gate?waba_id={WABA_ID}"),
        sidecar.get("/v1/gate", X_Original_URI=uri),
        sidecar.get("/v1/gate", X_Forwarded_Uri=uri),
    ]
    for denial in denials:
        said = denial.json()
        assert denial.status == 403
        assert (said["allow"], said["rule"], said["pause"]["until"]) == (False, "policy_block", "resumed")
        assert (said["pause"]["scope"], said["pause"]["scope_id"]) == ("waba", WABA_ID)
        assert int(denial.headers["retry-after"]) == said["retry_after_seconds"] > 0
        assert "policy_block" in denial.headers["x-gate-reason"]
    assert sidecar.get(f"/v1/gate/{OTHER_WABAS_NUMBER}").json()["allow"] is True
    assert sidecar.get(f"/v1/gate?waba_id={OTHER_WABA_ID}").status == 200
    assert sidecar.get("/v1/gate", X_Original_URI=f"/v23.0/{NUMBER}/media").status == 200


@pytest.mark.slow
def test_a_pause_holds_from_the_first_request_after_each_of_five_crashes(sidecar: Sidecar, sender: Meta) -> None:
    assert sender.error(368).status == 200
    pause = wait_for_pause(sidecar)

    for _ in range(5):
        sidecar.kill()
        sidecar.launch()
        first = patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}"), every=0.001)
        others = [sidecar.get(f"/v1/gate/{NUMBER}") for _ in range(20)]
        assert {answer.status for answer in (first, *others)} == {403}
        sidecar.wait_ready()
        assert sidecar.get(f"/v1/gate/{NUMBER}").json()["pause"]["id"] == pause["id"]


@pytest.mark.slow
def test_a_pause_holds_across_an_orderly_restart(sidecar: Sidecar, sender: Meta) -> None:
    assert sender.error(368).status == 200
    wait_for_pause(sidecar)

    assert sidecar.terminate() == 0
    sidecar.start()

    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
    assert sidecar.metric("whatsapp_gate_paused", scope="waba", scope_id=WABA_ID, code="368") == 1


def test_the_command_line_releases_a_pause_and_the_audit_says_who_and_why(sidecar: Sidecar, sender: Meta) -> None:
    assert sender.error(368).status == 200
    pause = wait_for_pause(sidecar)

    done = sidecar.command("pauses", "resume", pause["id"], "--actor", "alice", "--reason", "appeal granted")

    assert done.returncode == 0, done.stderr
    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 200
    assert paused(sidecar) == []
    newest = sidecar.get("/v1/audit").json()["audit"][0]
    assert (newest["actor"], newest["action"], newest["target"]) == ("alice", "resume", pause["id"])
    assert newest["reason"] == "appeal granted"


@pytest.mark.slow
def test_the_command_line_can_t_release_a_pause_twice(sidecar: Sidecar, sender: Meta) -> None:
    assert sender.error(368).status == 200
    pause = wait_for_pause(sidecar)
    words = ("pauses", "resume", pause["id"], "--actor", "alice", "--reason", "appeal granted")
    assert sidecar.command(*words).returncode == 0

    again = sidecar.command(*words)

    assert again.returncode == 1
    assert "is over" in again.stderr


@pytest.mark.slow
def test_a_release_survives_a_crash(sidecar: Sidecar, sender: Meta) -> None:
    assert sender.error(368).status == 200
    pause = wait_for_pause(sidecar)
    assert sidecar.post(f"/v1/pauses/{pause['id']}/resume", actor="alice", reason="appeal granted").status == 200

    sidecar.kill()
    sidecar.start()

    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 200


@pytest.mark.slow
def test_a_timed_pause_ends_by_itself(sidecar: Sidecar) -> None:
    placed = sidecar.post("/v1/pauses", phone_number_id=NUMBER, actor="bob", reason="quiet please", **{"for": "1s"})
    assert placed.status == 201
    denial = sidecar.get(f"/v1/gate/{NUMBER}")
    assert denial.status == 403
    assert denial.headers["retry-after"] == "1"

    patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 200, seconds=3)

    assert time.time() >= placed.json()["pause"]["until"]
    assert paused(sidecar) == []


@pytest.mark.slow
def test_an_operator_s_pause_needs_an_actor_and_a_reason(sidecar: Sidecar) -> None:
    refused = sidecar.post("/v1/pauses", phone_number_id=NUMBER, actor="bob")

    assert refused.status == 422
    assert "reason" in refused.json()["message"]
    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 200


def test_five_duplicates_within_a_minute_raise_one_flag_that_names_their_source(sidecar: Sidecar, sender: Meta) -> None:
    duplicates(sender, range(7))

    flag = patience.until(lambda: next((one for one in flags(sidecar) if one["evidence_count"] >= 7), None))
    assert flag is not None
    assert (flag["rule"], flag["group"]) == ("duplicate_burst", {"phone_number_id": NUMBER})
    assert flag["sources"]["source"] == {"import": 7}
    assert len(flags(sidecar)) == 1
    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 200


@pytest.mark.slow
def test_duplicates_from_before_a_crash_count_towards_the_burst(sidecar: Sidecar, sender: Meta) -> None:
    duplicates(sender, range(3))
    sidecar.settle()
    sidecar.kill()
    sidecar.start()
    assert flags(sidecar) == []

    duplicates(sender, range(3, 4))
    sidecar.settle()
    assert flags(sidecar) == []
    duplicates(sender, range(4, 5))

    flag = patience.until(lambda: flags(sidecar))[0]
    assert flag["evidence_count"] == 5


@pytest.mark.slow
def test_duplicates_that_were_delivered_twice_make_no_burst_after_a_crash(sidecar: Sidecar, sender: Meta) -> None:
    duplicates(sender, range(3))
    sidecar.settle()
    sidecar.kill()
    sidecar.start()

    for body in list(sender.sent):
        assert sender.post(body).status == 200
        assert sender.post(body.replace(b'"15550000000"', b'"15550000001"')).status == 200
    sidecar.settle()

    assert flags(sidecar) == []


def test_an_expired_message_waits_on_the_resend_list_until_a_worker_acknowledges_it(
    sidecar: Sidecar, sender: Meta
) -> None:
    at = time.time()
    sent = payloads.status("wamid.expired", "sent", at - 60, callback_data="order-7")
    expired = payloads.status("wamid.expired", "failed", at, codes=(131043,))
    assert sender.statuses(sent).status == 200
    assert sender.statuses(expired).status == 200
    waiting = patience.until(lambda: resends(sidecar, "pending"))
    assert [(one["wamid"], one["code"], one["callback_data"]) for one in waiting] == [
        ("wamid.expired", 131043, "order-7")
    ]

    claimed = sidecar.post("/v1/resends/claim", actor="worker-1", limit=10).json()["resends"]
    empty = sidecar.post("/v1/resends/claim", actor="worker-2", limit=10).json()["resends"]
    acknowledged = sidecar.post(f"/v1/resends/{claimed[0]['id']}/ack", actor="worker-1", outcome="sent")
    again = sidecar.post(f"/v1/resends/{claimed[0]['id']}/ack", actor="worker-1", outcome="sent")

    assert [one["id"] for one in claimed] == [waiting[0]["id"]]
    assert empty == []
    assert (acknowledged.status, acknowledged.json()["resend"]["state"]) == (200, "sent")
    assert again.status == 409
    assert resends(sidecar, "pending") == resends(sidecar, "claimed") == []


@pytest.mark.slow
def test_a_claim_whose_worker_is_silent_is_handed_out_again(sidecar: Sidecar, sender: Meta) -> None:
    assert sender.statuses(payloads.status("wamid.expired", "failed", time.time(), codes=(131043,))).status == 200
    patience.until(lambda: resends(sidecar, "pending"))
    first = sidecar.post("/v1/resends/claim", actor="worker-1", lease="1s").json()["resends"]
    sidecar.kill()
    sidecar.start()

    second = patience.until(
        lambda: sidecar.post("/v1/resends/claim", actor="worker-2", lease="1m").json()["resends"], seconds=5
    )

    assert [one["id"] for one in second] == [one["id"] for one in first]
    assert second[0]["claimed_by"] == "worker-2"


def test_the_same_delivery_twice_and_the_same_status_in_another_batch_count_once(
    sidecar: Sidecar, sender: Meta
) -> None:
    at = time.time()
    one, other = (payloads.status(f"wamid.{name}", "sent", at) for name in ("one", "other"))

    answers = [sender.statuses(one), sender.statuses(one), sender.statuses(other, one)]
    wait_for_status(sidecar, "wamid.other", 1)

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len(wait_for_status(sidecar, "wamid.one", 1)["timeline"]) == 1
    page = sidecar.metrics()
    assert page.sum("whatsapp_statuses_total", status="sent", phone_number_id=NUMBER) == 2
    assert page.sum("whatsapp_monitor_deliveries_total", outcome="accepted") == 2
    assert page.sum("whatsapp_monitor_deliveries_total", outcome="duplicate") == 1


def test_a_state_never_goes_backwards_whatever_the_order_of_its_statuses(sidecar: Sidecar, sender: Meta) -> None:
    at = time.time()
    for offset, name in ((2, "read"), (0, "sent"), (1, "delivered")):
        assert sender.statuses(payloads.status("wamid.late", name, at + offset)).status == 200

    message = wait_for_status(sidecar, "wamid.late", 3)

    assert message["state"] == "read"
    assert [step["status"] for step in message["timeline"]] == ["sent", "delivered", "read"]
    patience.until(lambda: sidecar.metric("whatsapp_statuses_total", phone_number_id=NUMBER) == 3)


def test_an_incident_is_written_up_as_one_report(sidecar: Sidecar) -> None:
    with meta.of(sidecar) as sender:
        sender.statuses(payloads.status("wamid.before", "sent", time.time() - 60))
        assert sender.error(368).status == 200
        sender.statuses(payloads.status("wamid.blocked", "failed", time.time(), codes=(368,)))
    sidecar.settle()
    (pause,) = sidecar.get("/v1/pauses").json()["pauses"]
    (incident,) = sidecar.get("/v1/incidents").json()["incidents"]
    options = ("--config.file", str(sidecar.config_file))
    lasting = sidecar.command("incidents", "export", incident["id"], *options)
    assert sidecar.post(f"/v1/pauses/{pause['id']}/resume", actor="ann|e", reason="appeal `granted`").status == 200
    over = sidecar.command("incidents", "export", incident["id"], *options)
    unknown = sidecar.command("incidents", "export", "i999-0", *options)

    assert (lasting.returncode, over.returncode, unknown.returncode) == (0, 0, 1)
    assert "It lasts." in lasting.stdout
    report = over.stdout
    assert report.startswith(f"# Incident {incident['id']}\n")
    assert "Closed by ann\\|e: appeal \\`granted\\`" in report
    assert "| webhook |" in report
    assert f"- Pause {pause['id']} by rule:policy\\_block of waba" in report
    assert "wamid.blocked" in report
    assert [line.split(" (")[0] for line in report.splitlines() if line.startswith(("| before", "| during"))] == [
        "| before", "| during",
    ]  # fmt: skip
    assert "there is no incident i999-0" in unknown.stderr
