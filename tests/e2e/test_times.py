"""Events whose times no clock of ours would tell: a week late, from the future, from 1970, beyond all calendars."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import meta, patience
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import Sidecar

pytestmark = pytest.mark.slow

DAY_SECONDS = 86400.0
WEEK_SECONDS = 7 * DAY_SECONDS
LAG = "whatsapp_webhook_lag_seconds"


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path) as made:
        made.start("--log.level", "error")
        yield made


@pytest.fixture
def sender(sidecar: Sidecar) -> Iterator[Meta]:
    with meta.of(sidecar) as made:
        yield made


def test_whatever_the_time_an_event_is_taken_and_all_that_shows_it_answers(sidecar: Sidecar, sender: Meta) -> None:
    now = time.time()
    times = (now - WEEK_SECONDS, now + DAY_SECONDS, now + 3650 * DAY_SECONDS, 0.0, -5.0, 1e18)
    for number, at in enumerate(times):
        statuses = [payloads.status(f"wamid.{number}", name, at) for name in ("sent", "delivered", "read")]
        message = payloads.message(f"wamid.in.{number}", at)
        change = payloads.change(NUMBER, statuses=statuses, messages=[message])
        assert sender.post(payloads.delivery(change, waba_id=WABA_ID, time=at)).status == 200
    sidecar.settle()

    shown = {f"/v1/messages/wamid.{number}" for number in range(len(times))}
    for path in shown | {"/", "/v1/messages", "/v1/campaigns", "/v1/pauses", f"/v1/gate/{NUMBER}"}:
        assert sidecar.get(path).status == 200, path
    assert {sidecar.get(path).json()["state"] for path in shown} == {"read"}
    page = sidecar.metrics()
    assert page.sum("whatsapp_statuses_total") == 3 * len(times)
    assert page.sum("whatsapp_monitor_quarantined_total") == 0
    assert page.sum("whatsapp_monitor_unparsed_total") == 0
    assert "Traceback" not in sidecar.log


def test_histograms_take_what_is_late_and_leave_out_what_comes_from_the_future(sidecar: Sidecar, sender: Meta) -> None:
    def counted() -> float:
        time.sleep(1.1)  # a page is kept for a second
        return sidecar.metric(f"{LAG}_count", field="messages")

    assert sender.statuses(payloads.status("wamid.future", "sent", time.time() + DAY_SECONDS)).status == 200
    sidecar.settle()
    after_the_future = counted()
    assert sender.statuses(payloads.status("wamid.late", "sent", time.time() - WEEK_SECONDS)).status == 200
    sidecar.settle()

    assert (after_the_future, counted()) == (0, 1)
    assert sidecar.metric(f"{LAG}_sum", field="messages") == pytest.approx(WEEK_SECONDS, abs=600)


def test_a_block_that_is_told_a_week_late_pauses_nothing_and_is_counted(sidecar: Sidecar, sender: Meta) -> None:
    def failed(wamid: str, at: float) -> None:
        assert sender.statuses(payloads.status(wamid, "failed", at, codes=(368,))).status == 200

    failed("wamid.late", time.time() - WEEK_SECONDS)
    sidecar.settle()
    held = sidecar.get(f"/v1/gate/{NUMBER}").status
    late = sidecar.metric("whatsapp_monitor_rule_late_events_total", rule="policy_block")
    failed("wamid.now", time.time())  # the other arm

    assert (held, late) == (200, 1)
    patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
