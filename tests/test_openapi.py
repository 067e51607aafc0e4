"""What /openapi.json says is there is there, and nothing that is sent to it makes the sidecar fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from monitor import app as application
from monitor import config
from monitor.app import App
from monitor.web import openapi
from tests.asgi import call
from tests.harness import tier
from tests.test_web import configured

EXAMPLES = tier.of(500, 20_000)
STREAMS = {"/v1/events"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = configured(tmp_path)
    made = application.build(config.load(file), file)
    await made.start()
    yield made
    await made.close()


async def described(app: App) -> dict[str, Any]:
    found: dict[str, Any] = (await call(app.internal, "GET", "/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


async def test_every_operation_says_what_it_does_and_each_write_what_it_takes(app: App) -> None:
    document = await described(app)
    found = {(method, path): operation for method, path, operation in operations(document)}

    assert document["openapi"].startswith("3.1")
    assert all(operation["summary"] for operation in found.values())
    assert {key for key, operation in found.items() if "requestBody" in operation} == set(openapi.BODIES)
    writes = {key for key in found if key[0] != "GET"} - {("POST", "/-/reload"), ("PUT", "/-/reload")}
    assert writes == set(openapi.BODIES)
    assert set(openapi.QUERIES) <= {path for _, path in found}
    assert not [path for _, path in found if path in {"/", "/login", "/search"} or path.startswith("/pauses")]


async def test_who_must_say_who_they_are_is_told_so_and_nobody_else(app: App, tmp_path: Path) -> None:
    document = await described(app)
    file = configured(tmp_path, "web: {operator_tokens: [a-token]}\n")
    app.loaded = config.load(file)
    guarded = await call(app.internal, "GET", "/openapi.json", headers=[("Authorization", "Bearer a-token")])

    assert document["security"] == []
    assert guarded.json()["security"] == [{"token": []}, {"user": []}]
    unguarded = {path for _, path, operation in operations(guarded.json()) if operation.get("security") == []}
    assert unguarded == {"/-/healthy", "/-/ready"}


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("DELETE", "/v1/pauses", 405, "GET, HEAD, POST"), ("GET", "/v1/pauses/p1/resume", 405, "POST"),
        ("GET", "/v1/nothing", 404, None), ("GET", "/v1/outbox/one", 404, None),
    ],
)  # fmt: skip
async def test_what_no_route_takes_is_answered_in_json(
    app: App, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = await call(app.internal, method, path)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json()["error"] in {"not_found", "method_not_allowed"}
    assert answer.headers.get("allow") == allowed


@pytest.mark.parametrize("limit", ["0", "-1", "ten", "", "1.5", "1e3", "٣"])
async def test_a_limit_that_is_no_number_is_refused_with_what_is_allowed(app: App, limit: str) -> None:
    answer = await call(app.internal, "GET", f"/v1/pauses?limit={quote(limit)}")

    assert answer.status == 422
    assert "limit" in answer.json()["message"]
    assert (await call(app.internal, "GET", "/v1/pauses?limit=99999999")).status == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/pauses?all=maybe", "all must be one of true, false"),
        ("/v1/flags?open=maybe", "open must be one of true, false"),
        ("/v1/firings?live=maybe", "live must be one of true, false"),
        ("/v1/campaigns/spring/unengaged?keys=maybe", "keys must be one of true, false"),
        ("/v1/resends?state=bogus", "state must be one of pending, claimed, sent, dropped, superseded, withheld"),
        ("/v1/messages?state=bogus", "state must be one of warning, received, accepted, sent, presumed_expired"),
        ("/v1/outbox?state=bogus", "state must be one of pending, dead"),
    ],
)
async def test_a_filter_that_is_no_word_of_it_is_refused_with_what_is_allowed(
    app: App, path: str, allowed: str
) -> None:
    answer = await call(app.internal, "GET", path)
    document = await described(app)
    described_as = document["paths"][path.partition("?")[0].replace("spring", "{campaign}")]["get"]["parameters"]
    name, _, value = path.partition("?")[2].partition("=")

    assert answer.status == 422
    assert answer.json()["message"].startswith(allowed)
    assert (await call(app.internal, "GET", path.replace(value, ""))).status == 200
    (words,) = (one["schema"]["enum"] for one in described_as if one["name"] == name)
    for word in words:
        assert (await call(app.internal, "GET", path.replace(value, word))).status == 200


async def test_every_list_takes_a_limit_and_a_cursor(app: App) -> None:
    for method, path, operation in operations(await described(app)):
        if method != "GET" or path in STREAMS:
            continue
        if "next_cursor" in (await call(app.internal, "GET", path)).body.decode():
            assert {"limit", "cursor"} <= {one["name"] for one in operation["parameters"]}, path


async def test_every_reference_leads_somewhere(app: App) -> None:
    document = await described(app)
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}

    assert named
    assert named <= set(document["components"]["schemas"])


def test_a_route_is_described_by_its_own_words() -> None:
    async def endpoint(_: Any) -> Any:
        """Do something."""

    document = openapi.document([Route("/v1/thing/{thing_id:int}", endpoint, methods=["GET"])])

    operation = document["paths"]["/v1/thing/{thing_id}"]["get"]
    assert operation["summary"] == "Do something."
    assert [one["name"] for one in operation["parameters"]] == ["thing_id"]


def _resolved(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = body.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"].get(name, {}).get("properties", {})
    return found


def test_nothing_that_is_sent_is_answered_by_a_failure(tmp_path: Path) -> None:
    file = configured(tmp_path)
    loop = asyncio.new_event_loop()
    app = application.build(config.load(file), file)
    loop.run_until_complete(app.start())
    document = loop.run_until_complete(described(app))
    known = [one for one in operations(document) if one[1] not in STREAMS]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        method, path, operation = data.draw(st.sampled_from(known))
        url = path
        query = []
        for parameter in operation["parameters"]:
            value = data.draw(st.text(max_size=30))
            if parameter["in"] == "path":
                url = url.replace(f"{{{parameter['name']}}}", quote(value, safe="") or "x")
            elif data.draw(st.booleans()):
                query.append(f"{quote(parameter['name'])}={quote(value)}")
        fields = _resolved(document, operation)
        whole = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, JSON | st.sampled_from(["1h", "all", "x"])))
        body = data.draw(whole | JSON) if fields else None
        sent = b"" if body is None else json.dumps(body).encode()
        headers = [("Content-Type", "application/json")]
        target = f"{url}?{'&'.join(query)}" if query else url

        answer = loop.run_until_complete(call(app.internal, method, target, headers=headers, body=sent))

        assert answer.status < 500, (method, target, body, answer.body)

    try:
        fuzz()
    finally:
        loop.run_until_complete(app.close())
        loop.close()
