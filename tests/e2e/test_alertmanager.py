"""A real Alertmanager hears of a pause at once, keeps hearing of it across restarts, and hears its end."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness import answers, meta, patience
from tests.harness.alertmanager import Alertmanager
from tests.harness.meta import WABA_ID
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target
from tests.harness.wire import Wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RULE = "policy_block"
RESEND_SECONDS = 30.0
ACCOUNTS = 10
TOKEN = "token-of-an-operator-0123456789"


@pytest.fixture
def pager() -> Iterator[Target]:
    """What Alertmanager notifies."""
    with Target() as made:
        yield made


@pytest.fixture
def alertmanager(tmp_path: Path, pager: Target) -> Iterator[Alertmanager]:
    with Alertmanager(tmp_path / "alertmanager", pager.url) as made:
        yield made


def sidecar_with(directory: Path, *members: Alertmanager) -> Sidecar:
    return Sidecar(directory, alerts={"alertmanagers": [{"url": member.url} for member in members]})


def block(sidecar: Sidecar) -> dict[str, Any]:
    """Let Meta block the account; return the pause."""
    with meta.of(sidecar) as sender:
        assert sender.error(368).status == 200
    pause: dict[str, Any] = patience.until(lambda: sidecar.get("/v1/pauses").json()["pauses"])[0]
    return pause


def resume(sidecar: Sidecar, pause: dict[str, Any]) -> None:
    assert sidecar.post(f"/v1/pauses/{pause['id']}/resume", actor="alice", reason="appeal granted").status == 200


def pages(pager: Target, status: str) -> list[dict[str, Any]]:
    """Return what the pager was told with this status."""
    told = [json.loads(request.body) for request in list(pager.received)]
    return [page for page in told if page["status"] == status]


def test_an_alert_fires_within_seconds_and_resolves_after_the_release(
    tmp_path: Path, alertmanager: Alertmanager, pager: Target
) -> None:
    with sidecar_with(tmp_path, alertmanager) as sidecar:
        sidecar.start()

        pause = block(sidecar)
        alert = patience.until(lambda: alertmanager.firing(RULE), seconds=5)[0]
        fired = patience.until(lambda: pages(pager, "firing"), seconds=5)
        assert alert["labels"] == {"alertname": RULE, "severity": "critical", "waba_id": WABA_ID, "code": "368"}
        assert alert["annotations"]["pause"] == pause["id"]
        assert datetime.fromisoformat(alert["startsAt"]).timestamp() == pytest.approx(pause["since"], abs=0.01)
        assert fired[0]["alerts"][0]["labels"] == alert["labels"]

        resume(sidecar, pause)
        patience.until(lambda: not alertmanager.firing(RULE), seconds=5)
        patience.until(lambda: pages(pager, "resolved"), seconds=5)

        assert len(pages(pager, "firing")) == 1


def test_an_alert_is_kept_alive_across_a_crash_and_begins_when_it_began(
    tmp_path: Path, alertmanager: Alertmanager, pager: Target
) -> None:
    with sidecar_with(tmp_path, alertmanager) as sidecar:
        sidecar.start()
        pause = block(sidecar)
        before = patience.until(lambda: alertmanager.firing(RULE), seconds=5)[0]

        sidecar.kill()
        sidecar.start()

        def told_again() -> list[dict[str, Any]]:
            return [alert for alert in alertmanager.firing(RULE) if alert["endsAt"] > before["endsAt"]]

        after = patience.until(told_again, seconds=RESEND_SECONDS + 10, every=0.2)
        assert len(after) == 1
        assert after[0]["startsAt"] == before["startsAt"]
        assert after[0]["fingerprint"] == before["fingerprint"]

        resume(sidecar, pause)
        patience.until(lambda: not alertmanager.firing(RULE), seconds=5)
        patience.until(lambda: pages(pager, "resolved"), seconds=5)
        assert len(pages(pager, "firing")) == 1


def test_each_of_two_members_hears_it_and_the_one_that_was_down_hears_it_when_it_is_back(tmp_path: Path) -> None:
    with Target() as pager:
        members = [Alertmanager(tmp_path / name, pager.url) for name in ("first", "second")]
        with members[0] as first, members[1] as second, sidecar_with(tmp_path, first, second) as sidecar:
            sidecar.start()
            first.down()

            started_at = time.monotonic()
            pause = block(sidecar)
            patience.until(lambda: second.firing(RULE), seconds=5)
            assert time.monotonic() - started_at < 5
            patience.until(
                lambda: sidecar.metric("whatsapp_monitor_outbox_oldest_seconds", destination="alertmanager_1") == 0
            )  # the member hears it a moment before the row is settled, and /metrics is a second old

            first.up()
            patience.until(lambda: first.firing(RULE), seconds=15)
            assert first.firing(RULE)[0]["startsAt"] == second.firing(RULE)[0]["startsAt"]

            resume(sidecar, pause)
            patience.until(lambda: not first.firing(RULE) and not second.firing(RULE), seconds=5)


def test_a_release_that_nobody_could_be_told_of_is_told_after_our_restart(
    tmp_path: Path, alertmanager: Alertmanager
) -> None:
    with sidecar_with(tmp_path, alertmanager) as sidecar:
        sidecar.start()
        pause = block(sidecar)
        patience.until(lambda: alertmanager.firing(RULE), seconds=5)

        alertmanager.down()
        resume(sidecar, pause)
        sidecar.kill()
        alertmanager.up()
        sidecar.start()

        patience.until(lambda: not alertmanager.firing(RULE), seconds=10)
        assert sidecar.get("/v1/gate/200000000000001").status == 200


def test_what_began_and_ended_while_both_members_were_down_is_told_once_each(tmp_path: Path) -> None:
    with Target() as pager:
        members = [Alertmanager(tmp_path / name, pager.url) for name in ("first", "second")]
        with members[0] as first, members[1] as second, sidecar_with(tmp_path, first, second) as sidecar:
            sidecar.start()
            first.down()
            second.down()
            resume(sidecar, block(sidecar))
            with meta.of(sidecar) as sender:
                assert sender.error(368, waba_id="100000000000002").status == 200
            patience.until(lambda: len(sidecar.get("/v1/pauses").json()["pauses"]) == 1)
            sidecar.kill()
            sidecar.start()
            assert pager.received == []

            first.up()
            second.up()
            patience.until(lambda: len(pages(pager, "firing")) == 4, seconds=30)
            time.sleep(3)

            told = sorted(page["alerts"][0]["labels"]["waba_id"] for page in pages(pager, "firing"))
            assert told == [WABA_ID, WABA_ID, "100000000000002", "100000000000002"]


def test_a_member_that_refuses_is_listed_and_hears_it_when_somebody_says_so(tmp_path: Path, pager: Target) -> None:
    with Target() as refusing, Alertmanager(tmp_path / "alertmanager", pager.url) as member:
        refusing.status = 400
        targets = [{"url": refusing.url, "name": "refusing"}, {"url": member.url, "name": "member"}]
        with Sidecar(tmp_path, alerts={"alertmanagers": targets}) as sidecar:
            sidecar.start()
            block(sidecar)
            patience.until(lambda: pages(pager, "firing"), seconds=5)
            dead = patience.until(lambda: sidecar.get("/v1/outbox?state=dead").json()["rows"])
            assert [(row["destination"], row["error"]) for row in dead] == [("refusing", "status_400")]

            refusing.status = 200
            assert sidecar.post("/v1/outbox/retry", actor="ann", reason="mended").status == 200
            patience.until(lambda: refusing.received, seconds=5)
            assert json.loads(refusing.received[0].body)[0]["labels"]["alertname"] == RULE
            assert len(pages(pager, "firing")) == 1


@pytest.mark.parametrize("fault", ["400", "422", "503", "mute", "dripping", "down"])
def test_whatever_is_wrong_with_one_member_the_other_hears_of_every_alert(tmp_path: Path, fault: str) -> None:
    with (
        Target() as pager,
        Target() as wrong,
        Wire(wrong.port, {"mute": "half_open", "down": "refusing"}.get(fault, "well")) as wire,
        Alertmanager(tmp_path / "alertmanager", pager.url) as member,
    ):
        wrong.status = int(fault) if fault.isdigit() else 200
        wrong.script = answers.dripping_body if fault == "dripping" else None
        targets = [{"url": f"http://127.0.0.1:{wire.port}", "name": "wrong", "timeout": "2s"}, {"url": member.url}]
        with Sidecar(tmp_path, alerts={"alertmanagers": targets}) as sidecar, meta.of(sidecar) as sender:
            sidecar.start()
            accounts = [f"1000000000001{number:02}" for number in range(ACCOUNTS)]
            for again in range(3):
                for account in accounts:
                    assert sender.error(368, waba_id=account, number=f"2{account[1:-1]}{again}").status == 200

            def heard() -> set[str]:
                return {alert["labels"]["waba_id"] for alert in member.firing(RULE)}

            patience.until(lambda: heard() == set(accounts), seconds=15)
            rows = sidecar.get("/v1/outbox?destination=wrong").json()["rows"]
            assert len(rows) == ACCOUNTS  # one for each alert, however often it is heard of
            patience.until(lambda: sidecar.get("/v1/outbox?destination=wrong").json()["rows"][-1]["error"])

            wire.turn("well")
            wrong.status, wrong.script = 200, None
            if fault in {"400", "422"}:
                assert sidecar.post("/v1/outbox/retry", actor="ann", reason="mended").status == 200

            def told() -> set[str]:
                return {json.loads(request.body)[0]["labels"]["waba_id"] for request in list(wrong.received)}

            patience.until(lambda: told() == set(accounts), seconds=30)


def test_an_alert_of_prometheus_pauses_through_a_real_alertmanager_and_its_end_releases(tmp_path: Path) -> None:
    web = {"operator_tokens": [TOKEN]}
    with Sidecar(tmp_path, web=web) as sidecar:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with Alertmanager(tmp_path / "alertmanager", f"{sidecar.web_url}/v1/alertmanager", TOKEN) as alertmanager:
            sidecar.start()
            annotations = {"whatsapp_pause_scope": "waba", "whatsapp_pause_id": WABA_ID, "summary": "complaints"}
            labels = {"alertname": "Complaints", "severity": "critical"}
            alertmanager.tell(time.time() + 60, labels, annotations)
            pauses = patience.until(lambda: sidecar.get("/v1/pauses", **bearer).json()["pauses"], seconds=10)
            assert [(pause["scope"], pause["scope_id"]) for pause in pauses] == [("waba", WABA_ID)]

            alertmanager.tell(time.time() - 0.001, labels, annotations)
            patience.until(lambda: not sidecar.get("/v1/pauses", **bearer).json()["pauses"], seconds=10)
