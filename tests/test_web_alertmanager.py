"""Alertmanager's webhook: annotations pause once, the end of the alert releases, and humans' pauses stay."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from monitor import app as application
from monitor import config
from monitor.app import App
from tests.asgi import Answer, call
from tests.test_web import NUMBER, block, configured

TOKEN = "operator-token-of-ours"
KNOWN = [("Content-Type", "application/json"), ("Authorization", f"Bearer {TOKEN}")]
PAUSE = {"whatsapp_pause_scope": "phone_number", "whatsapp_pause_id": NUMBER, "summary": "half is lost"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = configured(tmp_path, f"web: {{operator_tokens: [{TOKEN}]}}\n")
    built = application.build(config.load(file), file)
    await built.start()
    yield built
    await built.close()


async def post(app: App, path: str, ask: Any) -> Answer:
    return await call(app.internal, "POST", path, headers=KNOWN, body=json.dumps(ask).encode())


async def notify(app: App, annotations: dict[str, str], status: str = "firing", name: str = "Lost") -> Answer:
    alert = {
        "status": status, "labels": {"alertname": name}, "annotations": annotations, "startsAt": "2026-11-23T00:00:00Z",
        "fingerprint": f"f-{name}",
    }  # fmt: skip
    return await post(app, "/v1/alertmanager", {"version": "4", "groupKey": "{}", "alerts": [alert]})


async def pauses(app: App) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await call(app.internal, "GET", "/v1/pauses", headers=KNOWN)).json()["pauses"]
    return found


async def test_an_alert_pauses_once_and_its_end_releases(app: App) -> None:
    first, second = [await notify(app, PAUSE) for _ in range(2)]
    (pause,) = await pauses(app)
    over = await notify(app, PAUSE, "resolved")

    assert (first.status, first.json()["paused"], second.json()["paused"]) == (200, [pause["id"]], [])
    assert (pause["scope"], pause["scope_id"], pause["lane"]) == ("phone_number", NUMBER, "all")
    assert (pause["actor"], pause["reason"]) == ("alertmanager:f-Lost", "Lost: half is lost")
    assert over.json()["resumed"] == [pause["id"]]
    assert await pauses(app) == []


async def test_a_group_of_hundreds_of_alerts_is_taken_and_one_of_thousands_refused(app: App) -> None:
    alert = {"status": "firing", "labels": {"alertname": "Other"}, "annotations": {"description": "x" * 900}}
    pausing = {"status": "firing", "labels": {"alertname": "Lost"}, "annotations": PAUSE, "fingerprint": "f"}

    taken = await post(app, "/v1/alertmanager", {"alerts": [*[alert] * 900, pausing]})
    refused = await post(app, "/v1/alertmanager", {"alerts": [{"status": "firing"}] * 1_001})

    assert (taken.status, len(taken.json()["paused"])) == (200, 1)
    assert refused.status == 422


async def test_lane_and_length_are_as_the_annotations_say(app: App) -> None:
    await notify(app, {**PAUSE, "whatsapp_pause_lane": "marketing", "whatsapp_pause_for": "2h"})

    (pause,) = await pauses(app)
    assert (pause["lane"], round(pause["until"] - pause["since"])) == ("marketing", 7200)


async def test_a_resume_releases_what_rules_have_paused_and_never_what_a_human_has(app: App) -> None:
    rule = await call_block(app)
    human = {"actor": "ann", "reason": "a test", "scope": "waba", "scope_id": rule["scope_id"]}
    assert (await post(app, "/v1/pauses", human)).status == 201

    answer = await notify(app, {"whatsapp_resume_scope": "waba", "whatsapp_resume_id": rule["scope_id"]})

    assert answer.json() == {"paused": [], "resumed": [rule["id"]]}
    assert [pause["actor"] for pause in await pauses(app)] == ["ann"]


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ({"whatsapp_pause_scope": "galaxy", "whatsapp_pause_id": "1"}, "scope must be one of"),
        ({"whatsapp_pause_scope": "waba"}, "scope_id is needed"),
        ({**PAUSE, "whatsapp_pause_for": "soon"}, "for: not a duration"),
        ({**PAUSE, "whatsapp_pause_line": "all"}, "whatsapp_pause_line"),
        ({"whatsapp_pause_scope": "recipient", "whatsapp_pause_id": "1"}, "single person"),
    ],
)
async def test_annotations_that_cannot_be_read_are_named_and_the_others_done(
    app: App, annotations: dict[str, str], told: str
) -> None:
    good = {"status": "firing", "labels": {"alertname": "Good"}, "annotations": PAUSE}
    bad = {"status": "firing", "labels": {"alertname": "Bad"}, "annotations": annotations}

    answer = await post(app, "/v1/alertmanager", {"alerts": [bad, good]})

    assert answer.status == 422
    assert answer.json()["message"].startswith("Bad: ")
    assert told in answer.json()["message"]
    assert len(answer.json()["paused"]) == 1


async def test_alerts_without_our_annotations_do_nothing(app: App) -> None:
    answer = await notify(app, {"summary": "something else"})

    assert (answer.status, answer.json()) == (200, {"paused": [], "resumed": []})


async def test_nobody_unknown_may_pause(app: App, tmp_path: Path) -> None:
    body = json.dumps({"alerts": []}).encode()
    unknown = await call(app.internal, "POST", "/v1/alertmanager", headers=KNOWN[:1], body=body)
    (tmp_path / "open").mkdir()
    open_file = configured(tmp_path / "open")
    unguarded = application.build(config.load(open_file), open_file)
    await unguarded.start()
    refused = await call(unguarded.internal, "POST", "/v1/alertmanager", headers=KNOWN[:1], body=body)
    await unguarded.close()

    assert (unknown.status, refused.status, refused.json()["error"]) == (401, 403, "not_guarded")


async def call_block(app: App) -> dict[str, Any]:
    """Let Meta block the account; return the pause."""
    with contextlib.suppress(KeyError):  # its own question carries no token
        await block(app)
    (pause,) = await pauses(app)
    return pause
