"""Names, numbers, words and secrets planted everywhere are in nothing that leaves, but where the documents say so."""

import contextlib
import itertools
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from monitor import payloads
from tests.harness import canaries, exchange, patience, raising, series, tier
from tests.harness.canaries import (
    ACCESS_TOKEN,
    APP_SECRET,
    NAME,
    OF_PEOPLE,
    PHONE,
    TEXT,
    VERIFY_TOKEN,
    WAMID_PART,
    WEB_TOKEN,
)
from tests.harness.collector import Collector
from tests.harness.exchange import Answer
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EVENTS = tier.of(400, 10_000)
AUTHORIZED = {"Authorization": f"Bearer {WEB_TOKEN}"}
STREAMS = {"/v1/events", "/live"}
SEND = {"messaging_product": "whatsapp", "to": PHONE, "type": "text", "text": {"body": TEXT}, "x_new": NAME}
COMMANDS = (
    ("messages",), ("messages", "--json"), ("messages", canaries.wamid(5)), ("messages", PHONE),
    ("messages", "--recipient", PHONE), ("flags",), ("flags", "--json"), ("resends", "--json"), ("incidents", "--json"),
    ("pauses", "list"), ("pauses", "list", "--all", "--json"), ("firings", "--all", "--json"), ("campaigns", "--json"),
    ("audit", "--json"), ("audit", "verify"), ("outbox", "--json"), ("explain", "code", TEXT), ("explain", "codes"),
    ("pauses", "add", "--phone-number-id", NUMBER, "--reason", "x", "--for", TEXT), ("pauses", "resume", TEXT),
)  # fmt: skip
UNTOLD = (TEXT, PHONE)  # what a command line was given by its user it may repeat to them


def configured(graph: Graph, app: Target, pager: Target, alertmanager: Target, collector: Collector) -> dict[str, Any]:
    return {
        "webhook": {"app_secrets": [APP_SECRET], "verify_tokens": [VERIFY_TOKEN]},
        "web": {"operator_tokens": [WEB_TOKEN]},
        "graph": {"url": graph.url},
        "forward": [{"name": "app", "url": app.url}],
        "alerts": {"webhooks": [{"url": pager.url}], "alertmanagers": [{"url": alertmanager.url}]},
        "tracing": {"endpoint": collector.endpoint, "sample": {"failed": 1.0, "default": 1.0}},
        "messages": {"check_every": "1s", "settle": "1s", "buffer": "1s", "time_to_live": {"other": "2s"}},
    }


def ask(sidecar: Sidecar, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return exchange.ask(sidecar.web_port, method, path, body, {**AUTHORIZED, **named})


def settle(sidecar: Sidecar) -> None:
    def is_settled() -> bool:
        page = series.read(ask(sidecar, "GET", "/metrics").body.decode())
        forwards = page.sum("whatsapp_monitor_outbox_pending", destination="app")  # alerts wait while they last
        return page.sum("whatsapp_monitor_journal_lag_events") + forwards == 0

    patience.until(is_settled, seconds=120, every=0.3)
    time.sleep(1.1)  # a page of metrics may be a second old


def flood(sender: Meta) -> None:
    """Send bodies of every shape, then what pauses, flags and lists, then what can't be read."""
    for body in itertools.islice(canaries.deliveries(NUMBER, WABA_ID, 1_000), EVENTS):
        assert sender.post(body).status == 200
    for number in range(40):
        item = payloads.status(canaries.wamid(9_000_000 + number), "failed", time.time(), codes=(506,))
        change = canaries.planted(payloads.change(NUMBER, statuses=[item]))
        assert sender.post(payloads.delivery(change, waba_id=WABA_ID)).status == 200
    for number in range(5):
        item = payloads.status(canaries.wamid(9_100_000 + number), "failed", time.time(), codes=(368,))
        for change in (payloads.change(NUMBER, statuses=[item]), payloads.change(NUMBER, errors=[payloads.error(368)])):
            assert sender.post(payloads.delivery(canaries.planted(change), waba_id=WABA_ID)).status == 200
    for body in canaries.odd(NUMBER, WABA_ID, 8_000_000):
        assert sender.post(body).status == 200


def unwelcome(sidecar: Sidecar) -> Iterator[tuple[str, Answer]]:
    """Send the public listener what it refuses."""
    port = sidecar.webhook_port
    token = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": f"<{TEXT}>"}
    query = "&".join(f"{name}={quote(value)}" for name, value in token.items())
    yield "verify", exchange.ask(port, "GET", f"/webhook?{query}")
    yield "path", exchange.ask(port, "GET", f"/{quote(TEXT)}?{PHONE}={quote(NAME)}", headers={"X-Of": ACCESS_TOKEN})
    body = json.dumps(SEND).encode()
    for number, claimed in enumerate((TEXT, f"sha256={'0' * 64}", f"sha1={PHONE}")):
        headers = {"X-Hub-Signature-256": claimed, "Cookie": f"of={NAME}", "User-Agent": TEXT}
        yield f"signature {number}", exchange.ask(port, "POST", f"/webhook?{PHONE}", body, headers)


def proxied(sidecar: Sidecar, graph: Graph) -> Iterator[tuple[str, Answer]]:
    """Send through the proxy, with Graph well, refusing, dead; yield our own answers only."""
    body, path = json.dumps(SEND).encode(), f"/graph/v23.0/{NUMBER}/messages"
    token = {"Authorization": f"Bearer {ACCESS_TOKEN}", "Content-Type": "application/json", "X-Gate-Campaign": "spring"}
    graph.contact = PHONE
    exchange.ask(sidecar.web_port, "POST", path, body, {**token, "Idempotency-Key": f"{TEXT} {PHONE}"})
    exchange.ask(sidecar.web_port, "GET", f"/graph/v23.0/{NUMBER}?access_token={ACCESS_TOKEN}&of={PHONE}")
    graph.refusal = (400, 131026)
    exchange.ask(sidecar.web_port, "POST", path, body, token)
    graph.refusal, graph.is_cutting = None, True
    yield "cut", exchange.ask(sidecar.web_port, "POST", f"{path}?access_token={ACCESS_TOKEN}", body, token)
    graph.is_cutting = False
    for odd in (b"{" + TEXT.encode(), json.dumps({"to": [PHONE], "type": TEXT}).encode(), TEXT.encode()):
        yield "odd", exchange.ask(sidecar.web_port, "POST", path, odd, {**token, "Idempotency-Key": TEXT * 20})
    yield "host", exchange.ask(sidecar.web_port, "GET", f"/graph/../{quote(TEXT)}/{PHONE}", headers=token)


def wrong_requests(sidecar: Sidecar) -> Iterator[tuple[str, Answer]]:
    """Ask every endpoint with canaries in path, query, headers and body, such that nothing can take effect."""
    document = ask(sidecar, "GET", "/openapi.json").json()
    heads = {"Content_Type": "application/json", "X_Of": TEXT, "User_Agent": NAME, "Cookie": f"of={PHONE}",
             "traceparent": TEXT, "Referer": TEXT, "X_Forwarded_For": PHONE, "Last_Event_ID": TEXT}  # fmt: skip
    bodies = (
        {TEXT: TEXT}, {"actor": TEXT, "reason": NAME, PHONE: TEXT}, {"actor": [TEXT], "reason": NAME}, [TEXT], TEXT,
        {"actor": "x", "reason": "x", "scope": TEXT, "lane": NAME, "for": PHONE, "outcome": TEXT, "lease": TEXT},
    )  # fmt: skip
    for path, methods in document["paths"].items():
        if path in STREAMS:
            continue
        filled = "".join(quote(TEXT) if part.startswith("{") else part for part in _parts(path))
        for method, operation in methods.items():
            names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            query = "&".join(f"{quote(name)}={quote(f'{TEXT} {PHONE}')}" for name in [*names, "x_new", PHONE])
            if method == "get":
                yield f"GET {path}", ask(sidecar, "GET", f"{filled}?{query}", None, **heads)
                continue
            for number, body in enumerate(bodies):
                text = json.dumps(body).encode()
                yield f"{method} {path} {number}", ask(sidecar, method.upper(), f"{filled}?{query}", text, **heads)
            for number, text in enumerate((b"{" + TEXT.encode(), b"\xff" + TEXT.encode(), b"")):
                yield f"{method} {path} bytes {number}", ask(sidecar, method.upper(), filled, text, **heads)
            yield (
                f"{method} {path} form",
                ask(sidecar, method.upper(), filled, b"of=" + TEXT.encode(), Content_Type=TEXT),
            )
    for path in (f"/{quote(TEXT)}", f"/v1/{PHONE}?{PHONE}", f"/pauses/{PHONE}", f"/flags/{PHONE}", "/-/config"):
        for method in ("GET", "POST", "PUT", TEXT.split()[1].upper()):
            yield f"{method} {path}", ask(sidecar, method, path, b"{}", **heads, Accept="text/html")
    form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    yield "login", exchange.ask(sidecar.web_port, "POST", "/login", f"token={ACCESS_TOKEN}&next=%2F".encode(), form)
    yield "token", exchange.ask(sidecar.web_port, "GET", "/", headers={"Authorization": f"Bearer {ACCESS_TOKEN}"})
    yield "search", ask(sidecar, "POST", "/search", f"what={quote(PHONE)}".encode(), **{
        name.replace("-", "_"): value for name, value in form.items()})  # fmt: skip


def reads(sidecar: Sidecar) -> Iterator[tuple[str, str]]:
    """Yield every page and every list, and each thing that they list."""
    lists = {
        "/v1/pauses?all=true": ("pauses", "/v1/pauses", "/pauses"), "/v1/flags": ("flags", "/v1/flags", "/flags"),
        "/v1/incidents": ("incidents", "/v1/incidents", "/incidents"), "/v1/messages?limit=1000": ("messages", "", ""),
        "/v1/resends": ("resends", "", ""), "/v1/firings": ("firings", "", ""),
        "/v1/outbox": ("outbox", "/v1/outbox", ""),
        "/v1/audit?limit=1000": ("audit", "", ""), "/v1/campaigns": ("campaigns", "", ""),
        "/v1/rules": ("rules", "", ""),
        "/v1/followers": ("followers", "", ""),
    }  # fmt: skip
    found: list[str] = ["/", "/metrics", "/-/ready", "/-/healthy", "/openapi.json", "/login"]
    for path, (name, api, page) in lists.items():
        answer = ask(sidecar, "GET", path)
        yield path, answer.body.decode()
        for one in list(answer.json().get(name, []))[:20]:
            found.extend(f"{prefix}/{one['id']}" for prefix in (api, page) if prefix and "id" in one)
    gate = f"?phone_number_id={NUMBER}&recipient={PHONE}&kind=free_form"
    found.extend((f"/v1/messages?recipient={PHONE}", f"/v1/gate{gate}", f"/v1/gate/{NUMBER}"))
    found.extend(f"/v1/messages/{canaries.wamid(1000 + number)}" for number in range(40))
    for path in found:
        yield path, ask(sidecar, "GET", path).body.decode()
    exact = {"Accept": "application/openmetrics-text; version=1.0.0"}
    yield "openmetrics", ask(sidecar, "GET", "/metrics", None, **exact).body.decode()


def rows(database: Path) -> Iterator[tuple[str, str]]:
    """Yield all that the store holds outside of the journal's bodies."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            columns = ", ".join(f'"{one}"' for one in names if (table, one) != ("journal", "body"))
            found = db.execute(f"SELECT {columns} FROM {table}").fetchall()
            yield (
                f"table {table}",
                "\n".join(
                    one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)
                    for row in found
                    for one in row
                ),
            )


def test_canaries_are_in_nothing_that_leaves_but_what_is_forwarded(tmp_path: Path) -> None:
    outputs: dict[str, str] = {}
    with Collector() as collector, Target() as app, Target() as pager, Target() as alertmanager, Graph() as graph:
        settings = configured(graph, app, pager, alertmanager, collector)
        environment = {"WHATSAPP_MONITOR_TOKEN": WEB_TOKEN}
        with Sidecar(tmp_path, environment=environment, **settings) as sidecar:
            sidecar.start("--log.level", "debug")
            with Meta(sidecar.webhook_port, secret=APP_SECRET) as sender:
                outputs.update((f"proxy {name}", _whole(answer)) for name, answer in proxied(sidecar, graph))
                flood(sender)
                settle(sidecar)
            outputs.update((f"public {name}", _whole(answer)) for name, answer in unwelcome(sidecar))
            outputs.update((f"wrong {name}", _whole(answer)) for name, answer in wrong_requests(sidecar))
            patience.until(lambda: pager.received and alertmanager.received and collector.spans)
            settle(sidecar)
            outputs.update(reads(sidecar))
            for command in COMMANDS:
                done = sidecar.command(*command)
                outputs[" ".join(("command", *command))] = done.stdout + done.stderr
            sidecar.config_file.write_text(sidecar.config_file.read_text() + f"{APP_SECRET}: [{VERIFY_TOKEN}\n")
            done = sidecar.command("check-config", str(sidecar.config_file))
            outputs["command check-config"] = done.stdout + done.stderr
            outputs["wrong reload"] = ask(sidecar, "POST", "/-/reload").body.decode()
            sidecar.terminate()
            outputs.update(rows(sidecar.database))
            outputs["log"] = sidecar.log
    outputs["spans"] = "".join(map(str, collector.requests))
    outputs["pages"] = "".join(repr(request) for request in pager.received)
    outputs["alertmanager"] = "".join(repr(request) for request in alertmanager.received)
    forwarded = "".join(request.body.decode() for request in app.received)

    assert set(canaries.hits(forwarded)) >= {*OF_PEOPLE, ACCESS_TOKEN}, "the search finds nothing, so it proves nothing"
    assert "policy_block" in outputs["pages"]
    assert "duplicate_burst" in outputs["/v1/flags"]
    assert {name: found for name, text in outputs.items() if (found := _leaks(name, text))} == {}


def test_a_fault_tells_where_it_was_raised_and_not_what_it_was_given(tmp_path: Path) -> None:
    hook = {"app_secrets": [APP_SECRET], "verify_tokens": [VERIFY_TOKEN]}
    with Sidecar(tmp_path, webhook=hook) as sidecar, Meta(sidecar.webhook_port, secret=APP_SECRET) as sender:
        sidecar.program = (sys.executable, "-m", raising.__name__)
        sidecar.start("--log.level", "debug")
        for fault in (raising.UNREADABLE, raising.INEFFECTIVE):
            item = payloads.status(f"wamid.{fault}", "sent", time.time())
            body = payloads.delivery(canaries.planted(payloads.change(NUMBER, statuses=[item])))
            assert sender.post(body).status == 200
        sidecar.settle()
        answer = sidecar.get(f"/v1/pauses?of={PHONE}", X_Of=quote(TEXT))
        code = sidecar.terminate()

    assert (answer.status, canaries.hits(_whole(answer))) == (500, [])
    assert code == 1
    assert sidecar.log.count("entry_quarantined") == 2
    for where in ("parsing", "taking", "paging", "retaining", "_fail", "_raise", "closing"):
        assert f"in {where}" in sidecar.log, where
    for word in ("loop_failed", "where=process", "where=thread", "never retrieved"):
        assert word in sidecar.log, word
    assert canaries.hits(sidecar.log) == []


def _leaks(name: str, text: str) -> list[str]:
    told = UNTOLD if name.startswith("command") else ()
    found = [one for one in canaries.hits(text) if one not in told]
    if name in {"log", "pages", "alertmanager", "/metrics", "openmetrics"}:
        found += canaries.hits(text, (WAMID_PART,))
    return found


def _whole(answer: Answer) -> str:
    return f"{answer.headers}\n{answer.body.decode('utf-8', 'replace')}"


def _parts(path: str) -> Iterator[str]:
    rest = path
    while rest:
        before, brace, after = rest.partition("{")
        yield before
        inner, _, rest = after.partition("}")
        if brace:
            yield f"{{{inner}}}"
