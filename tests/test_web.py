"""The internal listener: gate, API, access, metrics and the status page, over a real store and pipeline."""

import asyncio
import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor import app as application
from monitor import config, gate, payloads
from monitor.app import App
from monitor.events import PausePlaced
from monitor.store.protocol import Arrival, StoreUnavailableError
from monitor.web import answers
from tests.asgi import Answer, call

WABA, NUMBER = "100", "200"
ROOT = Path(__file__).parents[1]
JSON = [("Content-Type", "application/json")]


def configured(folder: Path, extra: str = "") -> Path:
    file = folder / "monitor.yml"
    file.write_text(
        "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}\nstore: {url: sqlite:///monitor.db}\n"
        f"rules: {{files: ['{ROOT}/rules/monitor/*.yml']}}\n{extra}"
    )
    return file


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = configured(tmp_path)
    built = application.build(config.load(file), file)
    await built.start()
    yield built
    await built.close()


async def hear(app: App, *changes: dict[str, Any], waba_id: str = WABA) -> None:
    """Let a delivery take effect."""
    position = await app.store.append(Arrival("webhook", time.time(), payloads.delivery(*changes, waba_id=waba_id)))
    assert position is not None
    await app.pipeline.reach(position)


async def post(app: App, path: str, ask: dict[str, Any]) -> Answer:
    return await call(app.internal, "POST", path, headers=JSON, body=json.dumps(ask).encode())


async def get(app: App, path: str) -> Answer:
    return await call(app.internal, "GET", path)


async def block(app: App) -> dict[str, Any]:
    """Let Meta block the account; return the pause."""
    await hear(app, payloads.change(NUMBER, errors=[payloads.error(368)]))
    pauses = (await get(app, "/v1/pauses")).json()["pauses"]
    assert len(pauses) == 1
    return dict(pauses[0])


async def test_the_gate_allows_what_nothing_pauses(app: App) -> None:
    answer = await get(app, f"/v1/gate/{NUMBER}")

    assert answer.status == 200
    assert answer.json() == {"allow": True, "reason": "not_paused"}


@pytest.mark.parametrize(
    "path", [f"/v1/gate/{NUMBER}", f"/v1/gate?phone_number_id={NUMBER}", f"/v1/gate?waba_id={WABA}"]
)
async def test_the_gate_denies_a_blocked_sender_and_says_why(app: App, path: str) -> None:
    pause = await block(app)

    answer = await get(app, path)

    assert answer.status == 403
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["x-gate-reason"] == f"paused_waba; rule=policy_block; code=368; pause={pause['id']}"
    said = answer.json()
    assert (said["allow"], said["rule"], said["retry_after_seconds"]) == (False, "policy_block", 60)
    assert (said["pause"]["scope"], said["pause"]["until"]) == ("waba", "resumed")


@pytest.mark.parametrize("header", ["X-Original-URI", "X-Forwarded-Uri"])
async def test_the_gate_reads_a_gateway_s_original_request(app: App, header: str) -> None:
    await block(app)

    send = await call(app.internal, "GET", "/v1/gate", headers=[(header, f"/v23.0/{NUMBER}/messages?x=1")])
    upload = await call(app.internal, "GET", "/v1/gate", headers=[(header, f"/v23.0/{NUMBER}/media")])

    assert (send.status, upload.status) == (403, 200)


async def test_a_pause_by_hand_is_placed_listed_and_released_with_actor_and_reason(app: App) -> None:
    placed = await post(app, "/v1/pauses", {"phone_number_id": NUMBER, "for": "1h", "actor": "ann", "reason": "review"})
    pause = placed.json()["pause"]
    denied = await get(app, f"/v1/gate/{NUMBER}")
    released = await post(app, f"/v1/pauses/{pause['id']}/resume", {"actor": "bob", "reason": "done"})
    allowed = await get(app, f"/v1/gate/{NUMBER}")
    again = await post(app, f"/v1/pauses/{pause['id']}/resume", {"actor": "bob", "reason": "done"})

    assert (placed.status, denied.status, released.status, allowed.status, again.status) == (201, 403, 200, 200, 409)
    assert 3590 <= int(denied.headers["retry-after"]) <= 3600
    audit = (await get(app, "/v1/audit")).json()["audit"]
    assert [(one["actor"], one["action"], one["reason"]) for one in audit[:2]] == [
        ("bob", "resume", "done"),
        ("ann", "pause", "review"),
    ]


async def test_a_pause_of_a_recipient_keeps_the_number_out_of_everything(app: App) -> None:
    ask = {"scope": "recipient", "scope_id": "+15550001234", "actor": "ann", "reason": "complaint"}

    placed = await post(app, "/v1/pauses", ask)
    denied = await get(app, f"/v1/gate?phone_number_id={NUMBER}&recipient=15550001234")
    other = await get(app, f"/v1/gate?phone_number_id={NUMBER}&recipient=15550009999")

    assert (placed.status, denied.status, other.status) == (201, 403, 200)
    assert "5550001234" not in placed.body.decode() + denied.body.decode() + (await get(app, "/")).body.decode()


async def test_a_pause_of_a_recipient_holds_by_the_id_that_meta_gave_beside_the_number(app: App) -> None:
    item = payloads.status("wamid.1", "delivered", time.time(), recipient="15550001234")
    await hear(app, payloads.change(NUMBER, statuses=[item | {"recipient_user_id": "US.1"}]))

    await post(app, "/v1/pauses", {"scope": "recipient", "scope_id": "15550001234", "actor": "ann", "reason": "wish"})

    asked = [await get(app, f"/v1/gate?phone_number_id={NUMBER}&recipient={one}") for one in ("15550001234", "US.1")]
    assert [one.status for one in asked] == [403, 403]


@pytest.mark.parametrize(
    "ask",
    [
        {"scope": "waba", "scope_id": WABA, "actor": "ann"},
        {"scope": "waba", "scope_id": WABA, "reason": "x", "actor": ""},
        {"scope": "galaxy", "scope_id": "1", "actor": "ann", "reason": "x"},
        {"scope": "waba", "actor": "ann", "reason": "x"},
        {"scope": "all", "scope_id": "1", "actor": "ann", "reason": "x"},
        {"scope": "all", "for": "soon", "actor": "ann", "reason": "x"},
        {"scope": "all", "for": "0s", "actor": "ann", "reason": "x"},
        {"scope": "all", "for": "1h", "until": "resumed", "actor": "ann", "reason": "x"},
        {"scope": "all", "lane": "fast", "actor": "ann", "reason": "x"},
        {"scope": "all", "actor": "ann", "reason": "x", "extra": 1},
    ],
)
async def test_a_pause_that_is_asked_for_wrongly_is_422_and_says_why(app: App, ask: dict[str, Any]) -> None:
    answer = await post(app, "/v1/pauses", ask)

    assert answer.status == 422
    assert answer.json()["message"]
    assert (await get(app, "/v1/pauses")).json()["pauses"] == []


async def test_writes_that_are_no_json_are_415_and_unknown_ids_404(app: App) -> None:
    form = await call(app.internal, "POST", "/v1/pauses", headers=[("Content-Type", "text/plain")], body=b"{}")
    unknown = await post(app, "/v1/pauses/p0-0/resume", {"actor": "ann", "reason": "x"})
    flag = await post(app, "/v1/flags/f0-0/resolve", {"actor": "ann", "reason": "x"})
    resend = await post(app, "/v1/resends/r0-0/ack", {"actor": "ann"})

    assert (form.status, unknown.status, flag.status, resend.status) == (415, 404, 404, 404)


async def test_a_burst_is_flagged_with_its_sources_and_resolved_once(app: App) -> None:
    now = time.time()
    for number in range(6):
        status = payloads.status(f"wamid.{number}", "failed", now, codes=(506,), callback_data="nightly-import")
        await hear(app, payloads.change(NUMBER, statuses=[status]))
    flags = (await get(app, "/v1/flags?open=true")).json()["flags"]
    resolved = await post(app, f"/v1/flags/{flags[0]['id']}/resolve", {"actor": "ann", "reason": "job stopped"})
    again = await post(app, f"/v1/flags/{flags[0]['id']}/resolve", {"actor": "ann", "reason": "job stopped"})

    assert len(flags) == 1
    assert flags[0]["sources"]["source"] == {"nightly-import": 6}
    assert (resolved.status, again.status) == (200, 409)
    assert (await get(app, "/v1/flags?open=true")).json()["flags"] == []


async def test_a_resend_is_taken_by_exactly_one_worker(app: App) -> None:
    now = time.time()
    status = payloads.status("wamid.late", "failed", now, codes=(131043,), callback_data="order-7")
    await hear(app, payloads.change(NUMBER, statuses=[status]))

    first = (await post(app, "/v1/resends/claim", {"actor": "one"})).json()["resends"]
    second = (await post(app, "/v1/resends/claim", {"actor": "two"})).json()["resends"]
    acked = await post(app, f"/v1/resends/{first[0]['id']}/ack", {"actor": "one", "outcome": "sent"})
    again = await post(app, f"/v1/resends/{first[0]['id']}/ack", {"actor": "one", "outcome": "sent"})

    assert [(one["wamid"], one["callback_data"]) for one in first] == [("wamid.late", "order-7")]
    assert second == []
    assert (acked.status, again.status) == (200, 409)
    assert (await get(app, "/v1/resends?state=sent")).json()["resends"][0]["state"] == "sent"


async def test_a_message_shows_its_timeline_and_a_number_finds_it(app: App) -> None:
    now = time.time()
    for name in ("delivered", "sent"):
        status = payloads.status("wamid.a/b=", name, now + (name == "delivered"), recipient="15550001234")
        await hear(app, payloads.change(NUMBER, statuses=[status]))

    one = (await get(app, "/v1/messages/wamid.a/b=")).json()
    found = (await get(app, "/v1/messages?recipient=%2B15550001234")).json()["messages"]
    missing = await get(app, "/v1/messages/wamid.unknown")

    assert one["state"] == "delivered"
    assert [step["status"] for step in one["timeline"]] == ["sent", "delivered"]
    assert [message["wamid"] for message in found] == ["wamid.a/b="]
    assert "15550001234" not in json.dumps(found)
    assert missing.status == 404


async def test_metrics_come_in_the_format_that_is_asked_for(app: App) -> None:
    await hear(app, payloads.change(NUMBER, statuses=[payloads.status("wamid.1", "sent", time.time())]))

    plain = await get(app, "/metrics")
    accept = [("Accept", "application/openmetrics-text; version=1.0.0"), ("Accept-Encoding", "gzip")]
    packed = await call(app.internal, "GET", "/metrics", headers=accept)
    single = await get(app, "/metrics?name[]=whatsapp_monitor_journal_lag_events")

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'whatsapp_statuses_total{phone_number_id="200",status="sent",waba_id="100"} 1.0' in plain.body
    assert packed.headers["content-type"].startswith("application/openmetrics-text")
    assert gzip.decompress(packed.body).endswith(b"# EOF\n")
    assert b"whatsapp_monitor_journal_lag_events 0.0" in single.body
    assert b"whatsapp_statuses_total" not in single.body


async def test_health_and_readiness_are_told_as_prometheus_does(app: App) -> None:
    healthy, ready = await get(app, "/-/healthy"), await get(app, "/-/ready")
    app.is_stopping = True
    stopping = await get(app, "/-/ready")

    assert (healthy.status, ready.status, stopping.status) == (200, 200, 503)


async def test_the_gate_denies_until_what_stands_is_loaded(app: App) -> None:
    app.pipeline.is_loaded = False

    answer = await get(app, f"/v1/gate/{NUMBER}")

    assert (answer.status, answer.json()["reason"]) == (403, "not_ready")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/-/healthy", 200),
        ("GET", "/-/ready", 503),
        ("GET", "/metrics", 200),
        ("GET", f"/v1/gate/{NUMBER}", 403),
        ("GET", "/v1/pauses", 503),
        ("GET", "/v1/events", 503),
        ("POST", "/v1/pauses", 503),
        ("POST", "/-/reload", 503),
        ("GET", "/", 503),
    ],
)
async def test_while_it_starts_only_the_gate_and_probes_and_metrics_are_answered(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    file = configured(tmp_path)
    built = application.build(config.load(file), file)

    answer = await call(built.internal, method, path, headers=JSON)

    assert answer.status == status
    await built.close()


async def test_a_reload_is_all_or_nothing(app: App, tmp_path: Path) -> None:
    before = app.pipeline.plan.hash
    configured(tmp_path, "forward: [{name: app}]\n")
    bad = await call(app.internal, "POST", "/-/reload")
    kept = app.pipeline.plan.hash
    (tmp_path / "more.yml").write_text("rules: [{name: more, match: {code: 1}, actions: [flag]}]")
    file = configured(tmp_path)
    file.write_text(file.read_text().replace("files: [", "files: [more.yml, "))
    good = await call(app.internal, "POST", "/-/reload")

    assert bad.status == 500
    assert "monitor.yml:4:" in bad.json()["mistakes"][0]
    assert kept == before
    assert (good.status, good.json()) == (200, {"reloaded": True})
    assert app.pipeline.plan.hash != before


async def test_a_reload_while_the_store_is_away_takes_up_nothing_and_says_why(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: Arrival) -> None:
        raise StoreUnavailableError("database is locked")

    before = app.loaded
    (tmp_path / "more.yml").write_text("rules: [{name: more, match: {code: 1}, actions: [flag]}]")
    file = configured(tmp_path)
    file.write_text(file.read_text().replace("files: [", "files: [more.yml, "))
    monkeypatch.setattr(app.store, "append", away)

    failed = await post(app, "/-/reload", {})

    assert (failed.status, app.loaded, app.pipeline.settings.plan.hash) == (500, before, before.rule_set.hash)
    assert "database is locked" in failed.body.decode()
    assert "config_last_reload_successful 0.0" in (await get(app, "/metrics")).body.decode()


async def test_a_reload_that_needs_a_restart_says_so(app: App, tmp_path: Path) -> None:
    file = configured(tmp_path)
    file.write_text(file.read_text().replace("monitor.db", "other.db"))

    answer = await call(app.internal, "POST", "/-/reload")

    assert answer.status == 500
    assert "store.url" in answer.json()["mistakes"][0]


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "a: [", 'a: "\\ud800"'])
async def test_whatever_can_not_be_read_is_a_reload_that_failed(app: App, tmp_path: Path, text: str) -> None:
    file = configured(tmp_path)
    file.write_text(f"{file.read_text()}\n{text}\n")

    answer = await call(app.internal, "POST", "/-/reload")
    page = (await get(app, "/metrics")).body.decode()

    assert (answer.status, len(answer.json()["mistakes"])) == (500, 1)
    assert "whatsapp_monitor_config_last_reload_successful 0.0" in page


async def test_no_follower_is_told_more_often_than_each_second_that_nothing_happens(app: App) -> None:
    answer = await get(app, "/v1/events?heartbeat=999ms")

    assert (answer.status, answer.json()["message"]) == (422, "heartbeat: at least 1s")


async def test_a_pause_until_after_all_calendars_is_shown_with_their_last_day(app: App) -> None:
    """Such a pause may stand from before; the page was a 500 for as long as it stood."""
    placed = PausePlaced("ann", "review", "phone_number", NUMBER, "all", time.time() + 9999 * 365 * 86400)
    position = await app.store.append(Arrival("operator", time.time(), msgspec.json.encode(placed)))
    assert position is not None
    await app.pipeline.reach(position)

    pages = [await get(app, path) for path in ("/", f"/pauses/p{position}-0")]

    assert [page.status for page in pages] == [200, 200]
    assert b"31 Dec 9999" in pages[1].body


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/pauses", "application/json"), ("/login", "application/x-www-form-urlencoded")]
)
async def test_a_body_that_does_not_come_within_its_time_is_408(
    app: App, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    monkeypatch.setattr(answers, "BODY_SECONDS", 0.05)

    answer = await call(app.internal, "POST", path, headers=[("Content-Type", kind)], body=[b"{"], is_unfinished=True)

    assert answer.status == 408


async def test_tokens_are_needed_once_there_are_some(tmp_path: Path) -> None:
    file = configured(tmp_path, "web: {operator_tokens: [let-me-in]}\n")
    app = application.build(config.load(file), file)
    await app.start()
    try:
        known = [("Authorization", "Bearer let-me-in")]
        statuses = [
            (await get(app, "/v1/pauses")).status,
            (await call(app.internal, "GET", "/v1/pauses", headers=[("Authorization", "Bearer wrong")])).status,
            (await call(app.internal, "GET", "/v1/pauses", headers=known)).status,
            (await get(app, "/-/healthy")).status,
            (await get(app, "/metrics")).status,
        ]
    finally:
        await app.close()

    assert statuses == [401, 401, 200, 200, 401]


@pytest.mark.parametrize("header", [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example")])
async def test_another_site_s_page_can_change_nothing(app: App, header: tuple[str, str]) -> None:
    ask = json.dumps({"scope": "all", "actor": "evil", "reason": "x"}).encode()

    answer = await call(
        app.internal, "POST", "/v1/pauses", headers=[*JSON, ("Host", "127.0.0.1:9368"), header], body=ask
    )

    assert answer.status == 403
    assert (await get(app, "/v1/pauses")).json()["pauses"] == []


async def test_the_status_page_escapes_what_it_shows(app: App) -> None:
    await post(app, "/v1/pauses", {"scope": "all", "actor": "<b>ann</b>", "reason": "<script>alert(1)</script>"})

    page = await get(app, "/")

    assert page.status == 200
    assert b"Sending is paused" in page.body
    assert b"<script>" not in page.body
    assert b"<b>ann" not in page.body
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


async def test_lists_are_paged_newest_first(app: App) -> None:
    for number in range(5):
        await post(app, "/v1/pauses", {"waba_id": str(number), "actor": "ann", "reason": "x"})

    first = (await get(app, "/v1/pauses?limit=3")).json()
    second = (await get(app, f"/v1/pauses?limit=3&cursor={first['next_cursor']}")).json()

    assert [pause["scope_id"] for pause in (*first["pauses"], *second["pauses"])] == ["4", "3", "2", "1", "0"]
    assert second["next_cursor"] == ""


@pytest.mark.parametrize(
    ("path", "ask", "status"),
    [
        ("/v1/sends", {"phone_number_id": NUMBER, "answer": {}}, 422),
        ("/v1/sends", {"phone_number_id": NUMBER, "answer": {"messages": [{"id": ""}]}}, 422),
        ("/v1/sends", {"phone_number_id": "", "answer": {"error": {"code": 1}}}, 422),
        ("/v1/sends", {"phone_number_id": NUMBER, "answer": {"error": {"code": 1}}, "text": "no"}, 422),
        ("/v1/people/forget", {"actor": "ann", "reason": "asked"}, 422),
        ("/v1/people/forget", {"actor": "ann", "reason": "asked", "recipient": "1"}, 422),
        ("/v1/people/forget", {"actor": "ann", "reason": "asked", "recipient": "15550000001"}, 200),
        ("/v1/incidents/i9-9/close", {"actor": "ann", "reason": "over"}, 404),
        ("/v1/incidents/i9-9/close", {"actor": "ann"}, 422),
    ],
)
async def test_what_is_asked_wrongly_is_said_and_changes_nothing(
    app: App, path: str, ask: dict[str, Any], status: int
) -> None:
    answer = await post(app, path, ask)

    assert answer.status == status
    assert status == 200 or answer.json()["message"]


@pytest.mark.parametrize(("after", "status"), [("1h", 200), ("0s", 422), ("soon", 422), ("", 422)])
async def test_who_did_not_engage_needs_a_duration(app: App, after: str, status: int) -> None:
    assert (await get(app, f"/v1/campaigns/spring/unengaged?after={after}")).status == status


async def test_campaigns_are_listed_in_pages_the_newest_first(app: App) -> None:
    for number in range(5):
        answer = {"messages": [{"id": f"wamid.{number}"}]}
        ask = {"phone_number_id": NUMBER, "campaign": f"campaign {number}", "answer": answer}
        assert (await post(app, "/v1/sends", ask)).status == 202
        await app.pipeline.reach(await app.store.head())

    first = (await get(app, "/v1/campaigns?limit=3")).json()
    rest = (await get(app, f"/v1/campaigns?limit=3&cursor={first['next_cursor']}")).json()

    assert [one["campaign"] for one in first["campaigns"]] == ["campaign 4", "campaign 3", "campaign 2"]
    assert [one["campaign"] for one in rest["campaigns"]] == ["campaign 1", "campaign 0"]
    assert rest["next_cursor"] == ""
    assert first["campaigns"][0]["rates"] == {"delivered": None, "failed": None, "read": None, "replied": None}


async def test_a_claim_leaves_out_what_is_paused(app: App) -> None:
    await hear(
        app, payloads.change(NUMBER, statuses=[payloads.status("wamid.1", "failed", time.time(), codes=(131043,))])
    )
    pause = await block(app)
    during = await post(app, "/v1/resends/claim", {"actor": "worker"})
    await post(app, f"/v1/pauses/{pause['id']}/resume", {"actor": "ann", "reason": "over"})
    after = await post(app, "/v1/resends/claim", {"actor": "worker"})

    assert during.json() == {"resends": []}
    assert [one["wamid"] for one in after.json()["resends"]] == ["wamid.1"]


async def test_the_status_page_names_who_told_of_a_restriction(app: App) -> None:
    await block(app)

    page = (await get(app, "/")).body.decode()

    assert "Restricted by Meta" in page
    assert re.search(r"Told by</dt><dd>webhook <time", page)


async def test_a_question_is_held_until_the_pause_is_released(app: App) -> None:
    pause = await block(app)

    async def release() -> None:
        await asyncio.sleep(0.2)
        await post(app, f"/v1/pauses/{pause['id']}/resume", {"actor": "ann", "reason": "over"})

    started = time.monotonic()
    held, _ = await asyncio.gather(get(app, f"/v1/gate/{NUMBER}?wait=10s"), release())
    taken = time.monotonic() - started
    await post(app, "/v1/pauses", {"actor": "a", "reason": "r", "scope": "all"})
    denied = await get(app, f"/v1/gate/{NUMBER}?wait=100ms")
    strange = await get(app, f"/v1/gate/{NUMBER}?wait=soon")

    assert (held.status, 0.2 <= taken < 1.0) == (200, True)
    assert (denied.status, strange.status) == (403, 403)


async def test_the_gate_s_own_fault_is_answered_as_configured_and_counted(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("our mistake")

    monkeypatch.setattr(gate, "decide", broken)
    closed = await get(app, "/v1/gate/200?category=utility")
    configured(tmp_path, "gate: {on_error: {marketing: deny, business_initiated: allow, all: allow}}\n")
    assert (await call(app.internal, "POST", "/-/reload")).status == 200
    opened = await get(app, "/v1/gate/200?category=utility")
    unknown = await get(app, "/v1/gate/200")

    assert (closed.status, closed.json()) == (403, {"allow": False, "reason": "gate_failed", "retry_after_seconds": 1})
    assert (opened.status, opened.json()) == (200, {"allow": True, "reason": "gate_failed"})
    assert unknown.status == 403
    metrics = (await get(app, "/metrics")).body.decode()
    assert 'whatsapp_gate_checks_total{reason="gate_failed",verdict="allow",via="check"} 1.0' in metrics


async def test_a_gateway_s_headers_say_more_of_the_message(app: App) -> None:
    held = {"actor": "a", "reason": "r", "scope": "phone_number", "scope_id": NUMBER, "lane": "marketing"}
    await post(app, "/v1/pauses", held)
    uri = ("X-Original-URI", f"/v23.0/{NUMBER}/messages")

    strict = await call(app.internal, "GET", "/v1/gate", headers=[uri])
    utility = await call(app.internal, "GET", "/v1/gate", headers=[uri, ("X-Gate-Category", "Utility")])
    envoy = await call(
        app.internal, "POST", f"/v1/gate/v23.0/{NUMBER}/messages", headers=[("X-Gate-Kind", "free_form")]
    )
    hostile = await call(
        app.internal, "GET", "/v1/gate", headers=[uri, ("X-Gate-Category", b"\xff\xfe"), ("X-Gate-Nonsense", "x")]
    )

    assert (strict.status, utility.status, envoy.status, hostile.status) == (403, 200, 200, 403)
    assert (strict.headers["x-gate-code"], strict.headers["retry-after"]) == ("368", "60")


async def test_the_verdict_says_which_key_denies_and_who_may_release(app: App) -> None:
    pause = await block(app)
    act = {"actor": "ann", "reason": "a test", "phone_number_id": NUMBER, "for": "1h"}
    assert (await post(app, "/v1/pauses", act)).status == 201

    told = (await get(app, f"/v1/gate/{NUMBER}")).json()

    assert (told["key"], told["keys"]) == ("rules", {"operator": "denies", "rules": "denies", "meta": "permits"})
    assert (told["pause"]["id"], told["may_release"]) == (pause["id"], ["operator"])
    assert told["pause"]["evidence"][0]["code"] == 368
    assert [(one["key"], one["scope"]) for one in told["others"]] == [("operator", "phone_number")]


async def test_a_resume_by_probe_lets_a_trickle_through_and_the_next_signal_stops_it(app: App) -> None:
    pause = await block(app)
    ask = {"actor": "ann", "reason": "try", "probe": {"rate": "2/h", "for": "10m", "ramp": "10m"}}

    answer = await post(app, f"/v1/pauses/{pause['id']}/resume", ask)

    assert (answer.status, answer.json()["pause"]["stage"]) == (200, "half_open")
    first, second = [await get(app, f"/v1/gate/{NUMBER}") for _ in range(2)]
    assert (first.status, first.json()["reason"], first.json()["keys"]["rules"]) == (200, "half_open", "limits")
    assert (second.status, second.json()["reason"]) == (403, "half_open")

    item = payloads.status("wamid.blocked", "failed", time.time() + 1, codes=(368,))
    await hear(app, payloads.change(NUMBER, statuses=[item]))

    denied = await get(app, f"/v1/gate/{NUMBER}")
    assert (denied.status, denied.json()["reason"]) == (403, "paused_waba")


async def test_a_reinstated_finding_stops_nothing_and_is_no_longer_listed(app: App) -> None:
    pause = await block(app)
    ask = {"actor": "ann", "reason": "a false alarm", "reinstate_for": "1h"}

    answer = await post(app, f"/v1/pauses/{pause['id']}/resume", ask)
    item = payloads.status("wamid.blocked", "failed", time.time() + 1, codes=(368,))
    await hear(app, payloads.change(NUMBER, statuses=[item]))

    assert answer.json()["pause"]["stage"] == "reinstated"
    assert (await get(app, f"/v1/gate/{NUMBER}")).status == 200
    assert (await get(app, "/v1/pauses")).json()["pauses"] == []
    (known,) = (await get(app, "/v1/pauses?all=true")).json()["pauses"]
    assert known["evidence_count"] == 2
    assert "reinstate" in [entry["action"] for entry in (await get(app, "/v1/audit")).json()["audit"]]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"probe": True, "reinstate_for": "1h"}, "either"),
        ({"probe": {"rate": "fast"}}, "probe.rate"),
        ({"probe": {"for": "0s"}}, "probe.for"),
        ({"reinstate_for": "soon"}, "reinstate_for"),
    ],
)
async def test_a_resume_that_can_t_be_read_is_refused(app: App, more: dict[str, Any], told: str) -> None:
    pause = await block(app)

    answer = await post(app, f"/v1/pauses/{pause['id']}/resume", {"actor": "ann", "reason": "x", **more})

    assert (answer.status, told in answer.json()["message"]) == (422, True)


async def test_meta_s_own_word_stops_a_template_without_any_rule(app: App) -> None:
    value = {"event": "PAUSED", "message_template_id": 7, "message_template_name": "offer"}
    await hear(app, {"field": "message_template_status_update", "value": value})

    denied = await get(app, f"/v1/gate?phone_number_id={NUMBER}&waba_id={WABA}&template=offer&language=en")

    assert (denied.status, denied.json()["key"], denied.json()["may_release"]) == (403, "meta", ["meta", "operator"])
    assert (await get(app, f"/v1/gate?phone_number_id={NUMBER}&template=other")).status == 200


@pytest.mark.parametrize(
    "asked", ["/%20200", "?phone_number_id=%20200", "?phone_number_id=200%2Fx", "/200;x", "/200%00"]
)
async def test_what_is_no_id_may_be_anybody_s(app: App, asked: str) -> None:
    await block(app)

    assert (await get(app, f"/v1/gate{asked}")).status == 403
