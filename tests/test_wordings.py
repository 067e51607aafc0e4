"""What an alert says: how much, since when, from where, what to do, and where to look."""

from typing import Any

import msgspec
import pytest

from monitor import wordings
from monitor.actions import GROUPED, Alert
from monitor.wordings import Links

SINCE = 1_700_000_000.0
ALERT = Alert(
    "a5-1", "duplicate_burst", "warning", "The same message is being posted again and again",
    {"alertname": "duplicate_burst", "severity": "warning", "phone_number_id": "200"}, SINCE, SINCE + 60, 8, 300.0,
    code=506, flag_id="f5-0", runbook="https://example.test/runbook", source="caller nightly-import (7 of 8)",
    wamid="wamid.1",
)  # fmt: skip
LINKS = Links("http://127.0.0.1:9368", "https://grafana.test/d/1", "https://tempo.test/trace/{trace_id}", b"key")


def told(alert: Alert, ended_at: float | None = None, links: Links = LINKS) -> dict[str, Any]:
    return wordings.record(wordings.of(alert, ended_at, links), SINCE + 90)


def test_an_alert_says_how_much_since_when_and_from_where() -> None:
    annotations = told(ALERT)["annotations"]

    assert annotations["description"] == (
        "8 event(s) since 2023-11-14T22:13:20Z; rule duplicate_burst; code 506; "
        "most of them: caller nightly-import (7 of 8)."
    )
    assert annotations["runbook_url"] == "https://example.test/runbook"
    assert annotations["dashboard_url"] == "https://grafana.test/d/1"
    assert annotations["trace_url"] == f"https://tempo.test/trace/{annotations['trace_id']}"
    assert len(annotations["trace_id"]) == 32
    assert annotations["flag"] == "f5-0"


def test_what_is_over_says_how_long_it_lasted() -> None:
    one = told(ALERT, SINCE + 3_700)

    assert one["annotations"]["description"].endswith("over after 1h1m40s.")
    assert (one["startsAt"], one["endsAt"]) == ("2023-11-14T22:13:20Z", "2023-11-14T23:15:00Z")


@pytest.mark.parametrize("name", ["dashboard_url", "trace_url", "trace_id", "runbook_url", "pause"])
def test_what_is_not_known_is_left_out(name: str) -> None:
    bare = msgspec.structs.replace(ALERT, runbook="", wamid="", source="", flag_id="", code=None)

    annotations = told(bare, links=Links("http://127.0.0.1:9368"))["annotations"]

    assert name not in annotations
    assert annotations["description"] == "8 event(s) since 2023-11-14T22:13:20Z; rule duplicate_burst."


def test_labels_hold_no_person_message_or_replica() -> None:
    assert told(ALERT)["labels"] == {**ALERT.labels, "code": "506"}


def test_the_status_page_is_opened_at_the_pause_or_the_flag() -> None:
    paused = msgspec.structs.replace(ALERT, pause_ids=("p4-0", "p5-0"))

    pages = [told(one)["annotations"]["status_url"] for one in (paused, ALERT)]

    assert pages == ["http://127.0.0.1:9368/pauses/p5-0", "http://127.0.0.1:9368/flags/f5-0"]


def test_an_alert_for_many_says_so() -> None:
    grouped = msgspec.structs.replace(ALERT, labels={**ALERT.labels, GROUPED: "true"})

    assert "one alert for many" in told(grouped)["annotations"]["description"]


def test_what_is_told_again_keeps_its_id_and_the_end_has_another() -> None:
    firing, again, over = (wordings.of(ALERT, ended_at, LINKS).id for ended_at in (None, None, SINCE))
    reminded = wordings.of(msgspec.structs.replace(ALERT, sequence=1), None, LINKS).id

    assert firing == again
    assert len({firing, over, reminded}) == 3
