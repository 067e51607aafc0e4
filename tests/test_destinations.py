"""Each kind of destination, in front of a server with every fault, as the configuration makes it."""

import json
import smtplib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from monitor import channels, config, destinations, senders
from monitor.actions import Alert, Pause
from monitor.channels import SendError
from monitor.departures import Departures
from monitor.outbox import Destination
from monitor.standing import Standing, of
from monitor.store.opening import open_store
from monitor.store.protocol import Claim, Entry, OutboxRow
from tests.harness import answers
from tests.harness.answers import Part
from tests.harness.faulty import Faulty

NOW = 1_700_000_000.0
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAUSE = Pause(
    "p5-0", "waba", "100", "all", "policy_block", 368, "blocked", "rule:policy_block", NOW, None, "waba", waba_id="100"
)
ALERT = Alert(
    "a5-1", "policy_block", "critical", "Meta has blocked <100> & more",
    {"alertname": "policy_block", "severity": "critical", "waba_id": "100"}, NOW, NOW, 8, None, code=368,
    pause_ids=("p5-0",), runbook="https://example.test/runbook", wamid="wamid.1",
)  # fmt: skip
ENTRY = Entry(7, "webhook", NOW, b'{"entry": [ ]}', "sha256=" + "0" * 64)
WELL = {"forward": b"", "alertmanager": b"", "webhooks": b"thanks", "slack": b"ok",
        "pagerduty": b'{"status":"success","message":"Event processed","dedup_key":"a5-1"}'}  # fmt: skip
KINDS = tuple(WELL)
SILENT = Departures(None, lambda: NOW)


def section(kind: str, url: str, **more: Any) -> dict[str, Any]:
    """Return a configuration with one destination of a kind."""
    if kind == "forward":
        return {"forward": [{"name": "app", "url": url, **more}]}
    told: dict[str, Any] = {
        "alertmanager": {"url": url}, "webhooks": {"url": url, "secret": SECRET}, "slack": {"api_url": url},
        "pagerduty": {"url": url, "routing_key": "a-routing-key"},
    }[kind]  # fmt: skip
    return {"alerts": {"alertmanagers" if kind == "alertmanager" else kind: [{**told, **more}]}}


class Made:
    """A destination and what stands."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.standing: Standing = of([PAUSE, ALERT])
        self.now = NOW + 90

    async def send(self, reference: str = "", sent: int = 0) -> float | None:
        kind = self.destination.kind
        reference = reference or ("7" if kind == "forward" else "a5-1")
        row = OutboxRow(1, self.destination.name, kind, reference, NOW, 0, sent)
        return await self.destination.send(Claim(row, ENTRY if kind == "forward" else None))

    def release(self) -> None:
        released = msgspec.structs.replace(PAUSE, released_at=NOW + 60, released_by="alice")
        self.standing = of([released, ALERT])


@asynccontextmanager
async def made(
    directory: Path, kind: str, url: str, outbound: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[Made]:
    path = directory / "monitor.yml"
    rules = Path(__file__).parents[1] / "rules" / "monitor" / "core.yml"
    text = {
        "webhook": {"app_secrets": ["0123456789abcdef"], "verify_tokens": ["t"]}, "rules": {"files": [str(rules)]},
        **section(kind, url, **more), **({} if outbound is None else {"outbound": outbound}),
    }  # fmt: skip
    path.write_text(yaml.safe_dump(text))
    store = open_store(directory / "monitor.db", [])
    built, held = destinations.build(config.load(path), store, lambda: one.standing, lambda: one.now, SILENT)
    one = Made(built[0])
    try:
        yield one
    finally:
        for closing in held:
            await closing.close()
        await store.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_arrives_once_at_a_server_that_is_well(tmp_path: Path, kind: str) -> None:
    async with Faulty(answer=WELL[kind]) as server, made(tmp_path, kind, server.url) as one:
        await one.send()

        assert len(server.bodies) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("mood", "reason", "is_permanent"),
    [
        ("down", "unreachable", False), ("hanging", "timeout", False), ("closing", "broken_off", False),
        ("half", "broken_off", False), ("refusing", "status_400", True), ("failing", "status_503", False),
        ("moved", "status_302", False),
    ],
)  # fmt: skip
async def test_each_fault_has_its_reason_and_says_whether_trying_again_makes_sense(
    tmp_path: Path, kind: str, mood: str, reason: str, is_permanent: bool
) -> None:
    async with Faulty(mood, WELL[kind]) as server, made(tmp_path, kind, server.url, timeout="200ms") as one:
        with pytest.raises(SendError) as caught:
            await one.send()

        assert (caught.value.reason, caught.value.is_permanent) == (reason, is_permanent)
        assert len(server.bodies) == (mood != "down")  # a redirect is not followed


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answers.dripping_head, "timeout"), (answers.dripping_body, "timeout"), (answers.no_http, "broken_off"),
        (answers.reset_in_body, "broken_off"), (lambda: answers.endless(503), "status_503"),
        (lambda: answers.bomb(503), "status_503"), (lambda: answers.told(410), "status_410"),
    ],
    ids=["dripping_head", "dripping_body", "no_http", "reset_in_body", "endless", "bomb", "gone"],
)  # fmt: skip
async def test_an_answer_that_is_none_has_its_reason_in_time(
    tmp_path: Path, script: Callable[[], Iterable[Part]], reason: str
) -> None:
    async with Faulty(script=script) as server, made(tmp_path, "forward", server.url, timeout="500ms") as one:
        with pytest.raises(SendError) as caught:
            await one.send()

        assert caught.value.reason == reason
        assert caught.value.is_permanent == (reason == "status_410")


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("0", 1.0), ("1", 1.0), ("120", 120.0), ("3601", 3600.0), ("1000000000", 3600.0), ("9" * 5_000, 3600.0),
        ("-5", None), ("1.5", None), ("1e9", None), ("soon", None), ("", None), ("\u0663", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1.0), ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None), ("Thu, 01 Jan 1970 00:00:00 -0000", None),
    ],
)  # fmt: skip
async def test_a_wait_that_is_asked_for_is_between_a_second_and_an_hour(
    tmp_path: Path, asked: str, seconds: float | None
) -> None:
    async with (
        Faulty(script=lambda: [answers.head(429, f"Retry-After: {asked}", "Content-Length: 0")]) as server,
        made(tmp_path, "forward", server.url) as one,
    ):
        with pytest.raises(SendError) as caught:
            await one.send()

        assert (caught.value.reason, caught.value.retry_after_seconds) == ("status_429", seconds)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_server_within_its_time_is_well(tmp_path: Path, kind: str) -> None:
    async with Faulty("slow", WELL[kind]) as server, made(tmp_path, kind, server.url) as one:
        await one.send()

        assert len(server.bodies) == 1


@pytest.mark.parametrize("kind", ["forward", "webhooks"])
async def test_an_endless_answer_is_not_read_to_its_end(tmp_path: Path, kind: str) -> None:
    async with Faulty("flooding") as server, made(tmp_path, kind, server.url) as one:
        await one.send()

        assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("alertmanager", b'{"status":"error","errorType":"bad_data"}'), ("slack", b"invalid_token"), ("slack", b""),
        ("pagerduty", b'{"status":"invalid event"}'), ("pagerduty", b"<html>"),
    ],
)  # fmt: skip
async def test_a_200_with_an_error_in_it_is_an_error(tmp_path: Path, kind: str, answer: bytes) -> None:
    async with Faulty(answer=answer) as server, made(tmp_path, kind, server.url) as one:
        with pytest.raises(SendError, match="answer_error"):
            await one.send()


async def test_a_forward_keeps_body_and_signature_byte_for_byte_and_adds_our_id(tmp_path: Path) -> None:
    async with Faulty() as server, made(tmp_path, "forward", server.url) as one:
        await one.send()

    head = server.heads[0].lower()
    assert server.bodies == [ENTRY.body]
    assert b"x-hub-signature-256: sha256=" + b"0" * 64 in head
    assert b"x-monitor-delivery: 7\r\n" in head


async def test_a_webhook_is_signed_by_the_standard_webhooks_specification(tmp_path: Path) -> None:
    async with Faulty() as server, made(tmp_path, "webhooks", server.url) as one:
        await one.send()
        await one.send()

    heads = [dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2]) for head in server.heads]
    told = heads[0]["webhook-id"], float(heads[0]["webhook-timestamp"])
    assert heads[0]["webhook-signature"] == senders.signed_headers(SECRET, *told, server.bodies[0])["webhook-signature"]
    assert heads[0]["webhook-id"] == heads[1]["webhook-id"] == "a5-1-firing-0"


def test_the_signature_is_that_of_the_specification_s_own_example() -> None:
    signed = senders.signed_headers(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330.0, b'{"test": 2432232314}')

    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_pagerduty_gets_trigger_and_resolve_of_one_incident(tmp_path: Path) -> None:
    async with Faulty(answer=WELL["pagerduty"], status=202) as server, made(tmp_path, "pagerduty", server.url) as one:
        await one.send()
        one.release()
        await one.send(sent=1)

    trigger, resolve = map(json.loads, server.bodies)
    assert [event["event_action"] for event in (trigger, resolve)] == ["trigger", "resolve"]
    assert trigger["dedup_key"] == resolve["dedup_key"] == "a5-1"
    assert trigger["routing_key"] == "a-routing-key"
    assert trigger["payload"]["severity"] == "critical"
    assert trigger["payload"]["source"] == "100"
    assert trigger["client_url"].endswith("/pauses/p5-0")
    assert resolve["payload"]["custom_details"]["description"].endswith("over after 1m.")


async def test_slack_gets_no_markup_from_what_is_told(tmp_path: Path) -> None:
    async with Faulty(answer=b"ok") as server, made(tmp_path, "slack", server.url) as one:
        await one.send()
        one.release()
        await one.send(sent=1)

    firing, over = (json.loads(body)["attachments"][0] for body in server.bodies)
    assert firing["title"].startswith("[FIRING] Meta has blocked")
    assert "whatsapp-monitor pauses resume p5-0" in firing["text"]
    assert "<https://example.test/runbook|Runbook>" in firing["text"]
    assert over["title"].startswith("[RESOLVED]")
    assert firing["color"] != over["color"]


@pytest.mark.parametrize("kind", ["webhooks", "slack", "pagerduty"])
async def test_a_destination_hears_only_of_the_severities_it_wants(tmp_path: Path, kind: str) -> None:
    async with Faulty(answer=WELL[kind]) as server, made(tmp_path, kind, server.url, severities=["warning"]) as one:
        again_at = await one.send()

    assert (again_at, server.bodies) == (None, [])


async def test_a_destination_that_wants_no_end_hears_of_none(tmp_path: Path) -> None:
    async with Faulty(answer=b"ok") as server, made(tmp_path, "slack", server.url, send_resolved=False) as one:
        await one.send()
        one.release()
        again_at = await one.send(sent=1)

    assert (again_at, len(server.bodies)) == (None, 1)


@pytest.mark.parametrize("kind", ["webhooks", "slack", "pagerduty", "alertmanager"])
async def test_what_came_and_went_while_nobody_listened_is_told_as_firing_first(tmp_path: Path, kind: str) -> None:
    async with Faulty(answer=WELL[kind]) as server, made(tmp_path, kind, server.url) as one:
        one.release()
        again_at = await one.send(sent=0)
        one.now = again_at or 0.0
        await one.send(sent=1)

    first, second = (body.decode() for body in server.bodies)
    assert again_at is not None
    assert "over after" not in first
    assert "over after" in second


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433"])
async def test_a_forbidden_network_is_not_dialed_whatever_leads_there(tmp_path: Path, host: str) -> None:
    async with Faulty() as server:
        outbound = {"deny_networks": ["127.0.0.0/8", "::1/128"]}
        url = f"http://{host}:{server.port}"
        async with made(tmp_path, "webhooks", url, outbound=outbound) as one:
            with pytest.raises(SendError, match=r"forbidden_address|invalid_url"):
                await one.send()

        assert server.heads == []


async def test_a_proxy_carries_what_it_should_and_not_what_it_should_not(tmp_path: Path) -> None:
    async with Faulty() as proxy, Faulty() as server:
        async with made(tmp_path, "webhooks", "http://alerts.test/hook", proxy_url=proxy.url) as one:
            await one.send()
        more: dict[str, Any] = {"proxy_url": proxy.url, "no_proxy": "127.0.0.1"}
        async with made(tmp_path, "webhooks", server.url, **more) as one:
            await one.send()

    assert [head.split(b"\r\n")[0] for head in proxy.heads] == [b"POST http://alerts.test/hook HTTP/1.1"]
    assert len(server.bodies) == 1


async def test_identity_and_further_headers_are_sent_and_files_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr(channels, "REREAD_SECONDS", 0.0)
    more: dict[str, Any] = {
        "authorization": {"credentials_file": "token"},
        "http_headers": {"X-Team": {"values": ["a"], "secrets": ["b"]}},
    }
    async with Faulty() as server, made(tmp_path, "alertmanager", server.url, **more) as one:
        await one.send()
        (tmp_path / "token").write_text("second")
        await one.send(sent=1)
        (tmp_path / "token").unlink()
        await one.send(sent=2)

    heads = [head.decode() for head in server.heads]
    assert ["Bearer first" in heads[0], *("Bearer second" in head for head in heads[1:])] == [True, True, True]
    assert "X-Team: a, b" in heads[0]


async def test_apprise_speaks_to_what_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters: list[str] = []

    class Server:
        def __init__(self, *_: object, **__: object) -> None: ...
        def set_debuglevel(self, _level: int) -> None: ...
        def sendmail(self, _sender: str, _to: object, letter: str, **_: object) -> None:
            letters.append(letter)

        def quit(self) -> None: ...

    monkeypatch.setattr(smtplib, "SMTP", Server)
    path = tmp_path / "monitor.yml"
    rules = Path(__file__).parents[1] / "rules" / "monitor" / "core.yml"
    text = {
        "webhook": {"app_secrets": ["0123456789abcdef"], "verify_tokens": ["t"]}, "rules": {"files": [str(rules)]},
        "alerts": {"apprise": [{"url": "mailto://mail.example.test?from=m@example.test&to=oncall@example.test"}]},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(text))
    store = open_store(tmp_path / "monitor.db", [])
    built, held = destinations.build(config.load(path), store, lambda: of([PAUSE, ALERT]), lambda: NOW + 90, SILENT)

    await Made(built[0]).destination.send(Claim(OutboxRow(1, "apprise_0", "apprise", "a5-1", NOW, 0, 0)))
    await held[0].close()
    await store.close()

    assert len(letters) == 1
    assert "Subject: [FIRING] Meta has blocked" in letters[0]
    assert "pauses resume p5-0" in letters[0]
