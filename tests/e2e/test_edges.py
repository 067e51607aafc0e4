"""Odd requests over raw sockets, one a row: the status, whether the connection ends, and that nothing is journaled."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.harness import exchange, meta, series
from tests.harness.exchange import Answer
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER
from tests.harness.sidecar import VERIFY_TOKEN, Sidecar

pytestmark = pytest.mark.slow

BODY = meta.delivery("wamid.edge")
SIGNED = meta.line(BODY)
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
TE = "Transfer-Encoding: chunked"
ACT = b'{"actor": "ann", "reason": "r", "scope": "phone_number", "scope_id": "9"}'
LONG_WAIT, SHORT_WAIT = 20.0, 0.3
UNREAD = 400


def request(*lines: str, body: bytes = BODY, first: str = "POST /webhook HTTP/1.1", host: str = "localhost") -> bytes:
    return "\r\n".join([first, f"Host: {host}", *lines, "", ""]).encode("latin-1") + body


def hook(*lines: str, body: bytes = BODY, first: str = "POST /webhook HTTP/1.1") -> bytes:
    return request(SIGNED, *lines, body=body, first=first)


FRAMING = {
    "nul_in_a_header": hook(LENGTH, "X-A: a\0b"),
    "nul_in_the_path": hook(LENGTH, first="POST /web\0hook HTTP/1.1"),
    "length_and_chunks": hook(LENGTH, TE, body=CHUNKS),
    "chunks_and_length": hook(TE, LENGTH, body=CHUNKS),
    "two_lengths": hook(LENGTH, "Content-Length: 5"),
    "the_same_length_twice": hook(LENGTH, LENGTH),
    "a_list_of_lengths": hook(f"{LENGTH}, {len(BODY)}"),
    "a_signed_length": hook(f"Content-Length: +{len(BODY)}"),
    "a_negative_length": hook("Content-Length: -1"),
    "a_hexadecimal_length": hook("Content-Length: 0x10"),
    "an_empty_length": hook("Content-Length: "),
    "a_length_beyond_64_bits": hook("Content-Length: 99999999999999999999"),
    "xchunked": hook("Transfer-Encoding: xchunked", body=CHUNKS),
    "chunked_not_last": hook("Transfer-Encoding: chunked, identity", body=CHUNKS),
    "a_coding_before_chunked": hook("Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "identity": hook("Transfer-Encoding: identity", body=CHUNKS),
    "chunked_twice": hook(TE, TE, body=CHUNKS),
    "a_chunk_size_that_is_none": hook(TE, body=b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a_negative_chunk_size": hook(TE, body=b"-1\r\n" + BODY),
    "a_chunk_that_ends_elsewhere": hook(TE, body=b"%x\r\n%sXX0\r\n\r\n" % (len(BODY), BODY)),
    "bare_line_feeds": hook(LENGTH).replace(b"\r\n", b"\n"),
    "one_bare_line_feed": hook(LENGTH).replace(b"\r\n", b"\n", 1),
    "a_bare_carriage_return": hook(LENGTH, "X-A: a\rX-B: b"),
    "a_folded_line": hook(LENGTH, "X-A: a\r\n b"),
    "a_folded_first_line": hook(" X-A: a", LENGTH),
    "a_space_before_the_colon": hook(LENGTH, "X-A : a"),
    "a_space_before_the_length_s_colon": hook(f"Content-Length : {len(BODY)}"),
    "a_header_without_a_name": hook(LENGTH, ": a"),
    "another_host_as_target": hook(LENGTH, first="POST http://evil.example/webhook HTTP/1.1"),
    "http_2_as_text": hook(LENGTH, first="POST /webhook HTTP/2.0"),
    "http_0_9": b"GET /webhook\r\n\r\n",
    "http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200,
    "connect": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a_method_that_nobody_knows": b"BREW /webhook HTTP/1.1\r\nHost: a\r\n\r\n",
}
UNSIGNED = {  # bytes, status, outcome that is counted
    "no_signature": (request(LENGTH), 401, "signature_missing"),
    "a_signature_of_sha1": (request("X-Hub-Signature-256: sha1=" + "0" * 64, LENGTH), 401, "signature_mismatch"),
    "bytes_beyond_ascii": (request("X-Hub-Signature-256: sha256=" + "\xe9" * 64, LENGTH), 401, "signature_mismatch"),
    "a_wrong_digest": (request("X-Hub-Signature-256: sha256=" + "0" * 64, LENGTH), 401, "signature_mismatch"),
}  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    with Graph() as made:
        yield made


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> Iterator[Sidecar]:
    with Sidecar(tmp_path_factory.mktemp("edges"), graph={"url": graph.url}) as made:
        made.start()
        yield made
        assert made.terminate() == 0
        assert made.oracle().deliveries == [], "something odd was journaled"


def said(port: int, pieces: bytes) -> tuple[Answer, bool]:
    """Send bytes; return the answer, and whether the connection ended with it."""
    with socket.create_connection(("127.0.0.1", port), timeout=LONG_WAIT) as connection:
        connection.sendall(pieces)
        answer = exchange.hear(connection)
        connection.settimeout(LONG_WAIT if answer.headers.get("connection") == "close" else SHORT_WAIT)
        try:
            return answer, connection.recv(1) == b""
        except TimeoutError:
            return answer, False
        except ConnectionError:
            return answer, True


def counts(sidecar: Sidecar, serial: list[int] = []) -> dict[str, float]:  # noqa: B006 (each page is a new one)
    """Return what the deliveries' outcomes stand at now: asked for by a name that was not asked for before."""
    serial.append(0)
    name = "whatsapp_monitor_deliveries_total"
    page = series.read(sidecar.get(f"/metrics?name[]={name}&name[]=n{len(serial)}").body.decode())
    return {labels["outcome"]: value for labels, value in page.of(name)}


@pytest.mark.parametrize("name", FRAMING)
def test_what_may_be_read_in_two_ways_is_400_and_ends_the_connection(sidecar: Sidecar, name: str) -> None:
    before = counts(sidecar)

    public, is_public_closed = said(sidecar.webhook_port, FRAMING[name])
    internal, is_internal_closed = said(sidecar.web_port, FRAMING[name])

    assert (public.status, is_public_closed) == (UNREAD, True)
    assert (internal.status, is_internal_closed) == (UNREAD, True)
    assert counts(sidecar) == before


@pytest.mark.parametrize("name", UNSIGNED)
def test_what_is_not_signed_is_401_and_moves_one_counter(sidecar: Sidecar, name: str) -> None:
    sent, status, outcome = UNSIGNED[name]
    before = counts(sidecar)

    answer, is_closed = said(sidecar.webhook_port, sent)

    after = counts(sidecar)
    moved = {one: value - before.get(one, 0) for one, value in after.items() if value != before.get(one, 0)}
    assert (answer.status, answer.body, is_closed) == (status, b"", False)
    assert moved == {outcome: 1}


def test_garbage_behind_a_whole_request_ends_the_connection_after_its_answer(sidecar: Sidecar) -> None:
    sent = request(LENGTH) + b"GARBAGE\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sidecar.webhook_port), timeout=LONG_WAIT) as connection:
        connection.sendall(sent)
        whole = b"".join(iter(lambda: connection.recv(65536), b""))

    assert b" 200 " not in whole
    assert b" 400 " in whole


def test_a_verification_is_plain_text_that_no_browser_takes_for_a_page(sidecar: Sidecar) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "a.b-c_1"}
    good = exchange.ask(sidecar.webhook_port, "GET", f"/webhook?{urlencode(asked)}")
    odd = [
        f"{urlencode(asked)}&hub.verify_token={VERIFY_TOKEN}",
        urlencode({**asked, "hub.challenge": "x" * 257}),
        urlencode({**asked, "hub.challenge": "<b>"}),
        urlencode({name: value for name, value in asked.items() if name != "hub.mode"}),
        "", "%ff=%zz", "hub.verify_token=%00",
    ]  # fmt: skip
    refused = [exchange.ask(sidecar.webhook_port, "GET", f"/webhook?{query}") for query in odd]

    assert (good.status, good.body, good.headers["x-content-type-options"]) == (200, b"a.b-c_1", "nosniff")
    assert {(answer.status, answer.body) for answer in refused} == {(403, b"")}
    assert VERIFY_TOKEN not in sidecar.log


def test_many_wrong_verifications_are_told_to_wait_and_a_right_one_is_not(sidecar: Sidecar) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "wrong", "hub.challenge": "1"}
    wrong = [exchange.ask(sidecar.webhook_port, "GET", f"/webhook?{urlencode(asked)}") for _ in range(14)]
    right = exchange.ask(
        sidecar.webhook_port, "GET", f"/webhook?{urlencode({**asked, 'hub.verify_token': VERIFY_TOKEN})}"
    )
    page = series.read(sidecar.get("/metrics?name[]=whatsapp_monitor_logins_failed_total").body.decode())

    assert {answer.status for answer in wrong} <= {403, 429}
    assert wrong[-1].status == 429
    assert int(wrong[-1].headers["retry-after"]) > 0
    assert right.status == 200
    assert page.sum("whatsapp_monitor_logins_failed_total", outcome="verify_limited") >= 4


def act(method: str, path: str, *lines: str, body: bytes = b"", host: str = "localhost") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    return request(*lines, *length, body=body, first=f"{method} {path} HTTP/1.1", host=host)


JSON = "Content-Type: application/json"
SEND = f"/graph/v23.0/{NUMBER}/messages"
INTERNAL = {  # bytes, status
    "json_by_a_form_s_type": (act("POST", "/v1/pauses", "Content-Type: text/plain", body=ACT), 415),
    "a_write_from_another_site": (act("POST", "/v1/pauses", JSON, "Sec-Fetch-Site: cross-site", body=ACT), 403),
    "a_write_from_the_same_site": (act("POST", "/v1/pauses", JSON, "Sec-Fetch-Site: same-site", body=ACT), 403),
    "a_write_from_a_foreign_origin": (act("POST", "/v1/pauses", JSON, "Origin: https://evil.example", body=ACT), 403),
    "a_write_from_no_origin": (act("POST", "/v1/pauses", JSON, "Origin: null", body=ACT), 403),
    "a_name_that_was_bound_anew": (act("GET", "/v1/pauses", host="evil.example"), 421),
    "a_preflight": (act("OPTIONS", "/v1/pauses", "Origin: https://evil.example"), 403),
    "a_preflight_from_here": (act("OPTIONS", "/v1/pauses", "Origin: http://localhost"), 405),
    "a_preflight_of_the_proxy": (act("OPTIONS", SEND, "Origin: https://evil.example"), 403),
    "get_of_a_resume": (act("GET", "/v1/pauses/p1-0/resume"), 405),
    "head_of_a_resume": (act("HEAD", "/v1/pauses/p1-0/resume"), 405),
    "get_of_a_reload": (act("GET", "/-/reload"), 405),
    "head_of_a_reload": (act("HEAD", "/-/reload"), 405),
    "get_of_a_claim": (act("GET", "/v1/resends/claim"), 405),
    "get_of_an_erasure": (act("GET", "/v1/people/forget"), 405),
    "delete_of_all_pauses": (act("DELETE", "/v1/pauses"), 405),
    "a_resume_without_a_reason": (act("POST", "/v1/pauses/p1-0/resume", JSON, body=b'{"actor": "ann"}'), 422),
    "a_resume_with_an_empty_reason": (
        act("POST", "/v1/pauses/p1-0/resume", JSON, body=b'{"actor": "ann", "reason": ""}'), 422,
    ),
    "a_resume_of_nothing": (act("POST", "/v1/pauses/p1-0/resume", JSON, body=b'{"actor": "a", "reason": "r"}'), 404),
    "a_pause_of_an_unknown_scope": (act("POST", "/v1/pauses", JSON, body=ACT.replace(b"phone_number", b"galaxy")), 422),
    "a_pause_of_an_unknown_lane": (act("POST", "/v1/pauses", JSON, body=ACT[:-1] + b', "lane": "fast"}'), 422),
    "a_pause_with_an_unknown_field": (act("POST", "/v1/pauses", JSON, body=ACT[:-1] + b', "x": 1}'), 422),
    "too_many_names_of_metrics": (act("GET", "/metrics?" + "&".join(f"name[]=n{n}" for n in range(51))), 400),
    "a_flood_of_names_of_metrics": (act("GET", "/metrics?" + "&".join(f"name[]=n{n}" for n in range(5_000))), 431),
    "one_name_of_metrics_many_times": (act("GET", "/metrics?" + "&".join(["name[]=up"] * 3_000)), 200),
    "twenty_kilobytes_for_the_gate": (act("GET", "/v1/gate", "X-Gate-Category: " + "a" * 20_000), 200),
    "a_question_that_can_t_be_read": (act("GET", "/v1/gate?%ff=%zz&category=%00&recipient=%ff"), 200),
    "another_host_through_the_proxy": (act("GET", "http://evil.example/graph/v23.0/1"), 400),
    "another_host_s_path_through_the_proxy": (act("GET", "/graph//evil.example/x"), 400),
    "a_way_out_of_the_proxy": (act("GET", "/graph/../v1/pauses"), 400),
    "an_escaped_way_out_of_the_proxy": (act("GET", "/graph/v23.0/%2e%2e/%2e%2e/x"), 400),
    "a_tunnel_through_the_proxy": (b"CONNECT graph.facebook.com:443 HTTP/1.1\r\nHost: graph.facebook.com\r\n\r\n", 400),
    "length_and_chunks_through_the_proxy": (
        act("POST", SEND, JSON, TE, "Content-Length: 2", body=b"2\r\n{}\r\n0\r\n\r\n"), 400,
    ),
    "a_coding_through_the_proxy": (
        request(JSON, f"{TE[:-7]}gzip, chunked", body=b"2\r\n{}\r\n0\r\n\r\n", first=f"POST {SEND} HTTP/1.1"), 400,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INTERNAL)
def test_the_internal_listener_answers_what_is_documented(sidecar: Sidecar, graph: Graph, name: str) -> None:
    sent, status = INTERNAL[name]
    graph.requests.clear()

    answer, _ = said(sidecar.web_port, sent) if not sent.startswith(b"HEAD") else (_head(sidecar, sent), True)

    assert answer.status == status
    assert [header for header in answer.headers if header.startswith("access-control-")] == []
    assert graph.requests == [], "it reached Graph"
    assert sidecar.get("/v1/pauses?all=true").json()["pauses"] == []


def test_a_proxied_request_goes_to_graph_alone_whatever_host_it_names(sidecar: Sidecar, graph: Graph) -> None:
    graph.requests.clear()

    answer, _ = said(
        sidecar.web_port, act("GET", "/graph/@evil.example/x", "X-Forwarded-Host: evil", host="evil.example")
    )

    assert answer.status == 200
    assert [(one.path, one.headers["host"]) for _, one in graph.requests] == [
        ("/@evil.example/x", f"127.0.0.1:{graph.port}")
    ]


def test_a_megabyte_of_headers_for_the_gate_is_never_a_failure(sidecar: Sidecar) -> None:
    sent = act("GET", f"/v1/gate/{NUMBER}", *(f"X-A-{number}: {'x' * 10_000}" for number in range(100)))
    with socket.create_connection(("127.0.0.1", sidecar.web_port), timeout=LONG_WAIT) as connection:
        try:
            connection.sendall(sent)
            status = exchange.hear(connection).status
        except ConnectionError:  # closed with bytes unread, which may overtake the answer
            status = 431

    assert status == 431
    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 200


def test_a_second_release_is_409_an_unknown_category_is_any_and_http_2_is_not_begun(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as own:
        own.start()
        asked = {"actor": "ann", "reason": "r"}
        pause = own.post("/v1/pauses", **asked, scope="all", lane="marketing").json()["pause"]["id"]
        gates = [own.get(f"/v1/gate?category={one}").status for one in ("utility", "marketing", "nonsense", "", "%ff")]
        upgrading = act("POST", "/v1/pauses", JSON, "Connection: Upgrade, HTTP2-Settings", "upgrade: h2c", body=ACT)
        upgraded, _ = said(own.web_port, upgrading)
        released = [own.post(f"/v1/pauses/{pause}/resume", **asked).status for _ in range(2)]

    assert gates == [200, 403, 403, 403, 403]
    assert released == [200, 409]
    assert upgraded.status == 201, "the body of a client that asks for HTTP/2, as Java's does, is lost"


def test_a_page_may_not_be_framed_nor_send_its_address_on(sidecar: Sidecar) -> None:
    headers = sidecar.get("/").headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "same-origin"


def _head(sidecar: Sidecar, sent: bytes) -> Answer:
    path = sent.split(b" ", 2)[1].decode()
    return exchange.ask(sidecar.web_port, "HEAD", path)
