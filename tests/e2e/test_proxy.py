"""The egress proxy of a real process before a stand-in for Graph: transparent, asked first, and learned from."""

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from monitor import payloads, signature
from tests.harness import exchange, meta, patience
from tests.harness.exchange import Answer
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import APP_SECRET, Sidecar
from tests.harness.target import Target

pytestmark = pytest.mark.slow

PATH = f"/v23.0/{NUMBER}/messages"
TOKEN = "EAAG-secret-token"
TEXT = b'{"messaging_product": "whatsapp", "to": "+1 555 000 0001", "type": "text", "text": {"body": "h\xc3\xa9llo"}}'
TEMPLATE = (
    b'{"to":"15550000001","type":"template","template":{"name":"offer","language":{"code":"en_US"}},'
    b'"biz_opaque_callback_data":"order-7"}'
)


@pytest.fixture
def graph() -> Iterator[Graph]:
    with Graph() as made:
        yield made


@pytest.fixture
def sidecar(tmp_path: Path, graph: Graph) -> Iterator[Sidecar]:
    settings = {"url": graph.url, "timeout": "1s", "connect_timeout": "500ms"}
    with Sidecar(tmp_path, graph=settings) as made:
        made.start()
        yield made


@pytest.fixture
def sender(sidecar: Sidecar) -> Iterator[Meta]:
    with meta.of(sidecar) as made:
        made.statuses(payloads.status("wamid.earlier", "sent", time.time()))  # whose account the number is
        sidecar.settle()
        yield made


def send(sidecar: Sidecar, body: bytes = TEXT, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    every = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **named}
    return exchange.ask(sidecar.web_port, "POST", f"/graph{PATH}", body, every)


def test_what_is_sent_arrives_byte_for_byte_and_is_learned(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    answer = send(sidecar, TEMPLATE, X_Gate_Campaign="spring", X_Gate_Category="marketing", X_Custom="kept")
    ((method, request),) = graph.requests
    wamid = answer.json()["messages"][0]["id"]
    message = patience.until(lambda: found if (found := sidecar.get(f"/v1/messages/{wamid}")).status == 200 else None)

    assert (method, request.path, request.body) == ("POST", PATH, TEMPLATE)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["x-custom"] == "kept"
    assert request.headers["host"] == f"127.0.0.1:{graph.port}"
    assert not [name for name in request.headers if name.startswith("x-gate-") or name == "user-agent"]
    assert answer.headers["x-app-usage"] == '{"call_count":1}'
    assert message is not None
    known = message.json()
    assert (known["state"], known["template"], known["campaign"], known["category"], known["waba_id"]) == (
        "accepted", "offer", "spring", "marketing", WABA_ID,
    )  # fmt: skip
    assert known["biz_opaque_callback_data"] == "order-7"
    patience.until(lambda: sidecar.metric("whatsapp_sends_total", outcome="accepted") == 1)
    assert sidecar.metric("whatsapp_gate_checks_total", verdict="allow", via="proxy") == 1
    assert len(sidecar.get("/v1/messages?recipient=15550000001&state=accepted").json()["messages"]) == 1


def test_a_block_in_graph_s_answer_pauses_before_any_webhook(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.refusal = (403, 368)
    told = send(sidecar)
    refused = patience.until(
        lambda: found if (found := send(sidecar)).headers.get("x-gate-reason") else None, seconds=5
    )
    reached = len(graph.requests)
    again = send(sidecar)
    read = exchange.ask(sidecar.web_port, "GET", f"/graph/v23.0/{NUMBER}?fields=name%2Cquality_rating")

    assert (told.status, told.json()["error"]["type"]) == (403, "OAuthException")
    assert refused is not None
    error = refused.json()["error"]
    assert (refused.status, error["code"], error["type"]) == (403, 368, "WhatsAppMonitorRefusal")
    assert refused.headers["retry-after"] == "60"
    assert again.status == 403
    assert len(graph.requests) == reached + 1
    assert read.json() == {"id": f"/v23.0/{NUMBER}?fields=name%2Cquality_rating"}
    (incident,) = sidecar.get("/v1/incidents").json()["incidents"]
    assert incident["first_witness"] == "send"
    patience.until(lambda: sidecar.metric("whatsapp_sends_total", outcome="refused") >= 2)


def test_the_proxy_s_own_refusal_feeds_no_rule(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    pause = {"actor": "ann", "reason": "review", "scope": "all"}
    sidecar.post("/v1/pauses", **pause)
    refused = send(sidecar)

    ignored = sidecar.post("/v1/sends", phone_number_id=NUMBER, answer=refused.json())
    sidecar.settle()

    assert (refused.status, refused.json()["error"]["code"]) == (403, 368)
    assert (ignored.status, ignored.json()["position"]) == (200, None)
    assert graph.requests == []
    assert [one["rule"] for one in sidecar.get("/v1/pauses").json()["pauses"]] == ["operator"]
    assert sidecar.metric("whatsapp_errors_total", code="368", origin="send") == 0


def test_uploads_are_streamed_in_pieces_and_answers_keep_their_coding(sidecar: Sidecar, graph: Graph) -> None:
    graph.coding = "gzip"
    size = 3 * 1024 * 1024
    connection = http.client.HTTPConnection("127.0.0.1", sidecar.web_port, timeout=20)
    connection.request(
        "POST", f"/graph/v23.0/{NUMBER}/media", iter([b"a" * 65_536] * (size // 65_536)),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/jpeg"}, encode_chunked=True,
    )  # fmt: skip
    answer = exchange.answer(connection.getresponse())
    connection.close()

    assert len(graph.requests[0][1].body) == size
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == b'{"id": "/v23.0/%s/media"}' % NUMBER.encode()


def test_a_slow_a_dead_and_a_broken_graph_are_told_apart(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.delay_seconds = 1.5
    slow = send(sidecar)
    graph.delay_seconds = 0.0
    graph.is_cutting = True
    broken = send(sidecar)
    with pytest.raises(OSError, match="IncompleteRead"):
        exchange.ask(sidecar.web_port, "GET", f"/graph/v23.0/{NUMBER}")
    graph.is_cutting = False
    fine = send(sidecar)
    sidecar.configure(graph={"url": "http://127.0.0.1:9", "timeout": "1s", "connect_timeout": "500ms"})
    assert sidecar.reload().status == 200
    dead = send(sidecar)

    assert [(one.status, one.json()["error"]["error_data"]["details"]) for one in (slow, broken, dead)] == [
        (504, "timeout"), (502, "broken_off"), (502, "unreachable"),
    ]  # fmt: skip
    assert slow.json()["error"]["is_transient"]
    assert fine.status == 200
    patience.until(lambda: sidecar.metric("whatsapp_sends_total", outcome="unknown") == 2)
    assert sidecar.metric("whatsapp_sends_total", outcome="unreachable") == 1


def test_a_client_that_hangs_up_hurts_nobody(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    for head in (f"POST /graph{PATH}", f"POST /graph/v23.0/{NUMBER}/media"):
        with socket.create_connection(("127.0.0.1", sidecar.web_port)) as connection:
            connection.sendall(f"{head} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b"x" * 10)
            time.sleep(0.2)

    assert send(sidecar).status == 200
    assert [request.path for _, request in graph.requests if request.body == TEXT] == [PATH]
    assert "Traceback" not in sidecar.log


def test_a_throttle_answers_429_and_a_message_that_is_none_413(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    rules = sidecar.directory / "rules.yml"
    rules.write_text(
        "rules: [{name: slow, match: {code: 130429}, actions: [{throttle: {scope: phone_number, rate: 1/s, for: 1h}}]}]"
    )
    sidecar.configure(graph={"url": graph.url}, rules={"files": ["rules.yml"]})
    assert sidecar.command("reload", "--acknowledge-loosening").returncode == 0
    sender.statuses(payloads.status("wamid.x", "failed", time.time(), codes=(130429,)))
    sidecar.settle()

    answers = [send(sidecar) for _ in range(5)]
    large = send(sidecar, b"x" * (1024 * 1024 + 1))

    assert [answer.status for answer in answers][:1] == [200]
    assert answers[-1].status == 429
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].json()["error"]["code"] == 130429
    assert large.status == 413


def test_tokens_stand_nowhere_and_operators_tokens_are_not_asked_for(sidecar: Sidecar, graph: Graph) -> None:
    sidecar.configure(graph={"url": graph.url}, web={"operator_tokens": ["operator-token-of-ours"]})
    assert sidecar.reload().status == 200
    sent = send(sidecar)
    foreign = send(sidecar, Sec_Fetch_Site="cross-site")
    listed = sidecar.get("/v1/pauses").status
    time.sleep(0.5)
    assert sidecar.terminate() == 0

    assert (sent.status, foreign.status, listed) == (200, 403, 401)
    assert TOKEN not in sidecar.log
    for file in sidecar.directory.glob("**/monitor.db*"):
        assert TOKEN.encode() not in file.read_bytes(), file.name


def test_one_key_sends_one_message_through_twins_and_restarts(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.delay_seconds = 0.3
    with ThreadPoolExecutor(8) as pool:
        twins = list(pool.map(lambda _: send(sidecar, Idempotency_Key="order-7"), range(8)))
    graph.delay_seconds = 0.0
    other_key = send(sidecar, Idempotency_Key="order-8")
    other_body = send(sidecar, TEMPLATE, Idempotency_Key="order-7")
    sidecar.kill()
    sidecar.start()
    again = send(sidecar, Idempotency_Key="order-7")

    assert {(one.status, one.body) for one in (*twins, again)} == {(200, twins[0].body)}
    assert sum("idempotency-replayed" in one.headers for one in twins) == 7
    assert "idempotency-replayed" in again.headers
    assert other_key.json() != twins[0].json()
    assert (other_body.status, other_body.json()["error"]["error_data"]["details"]) == (422, "idempotency_key_reused")
    assert len(graph.requests) == 2


def test_what_was_refused_may_be_tried_again_and_what_may_have_left_is_not(
    sidecar: Sidecar, sender: Meta, graph: Graph
) -> None:
    graph.refusal = (400, 131009)
    refused = send(sidecar, Idempotency_Key="a")
    graph.refusal = None
    taken = send(sidecar, Idempotency_Key="a")
    graph.delay_seconds = 1.5
    lost = send(sidecar, Idempotency_Key="b")
    graph.delay_seconds = 0.0
    still_lost = send(sidecar, Idempotency_Key="b")

    assert (refused.status, taken.status) == (400, 200)
    assert (lost.status, still_lost.status, still_lost.body) == (504, 504, lost.body)
    assert len(graph.requests) == 3


def test_the_same_message_again_is_flagged_with_who_sent_it_and_why(
    sidecar: Sidecar, sender: Meta, graph: Graph
) -> None:
    first = send(sidecar, TEMPLATE, X_Gate_Caller="orders")
    again = [send(sidecar, TEMPLATE, X_Gate_Caller=caller) for caller in ("orders", "orders-replica", "orders-replica")]
    send(sidecar, TEMPLATE.replace(b"offer", b"receipt"), X_Gate_Caller="orders")
    graph.refusal = (400, 131009)
    refused = [send(sidecar, TEXT) for _ in range(2)]
    sidecar.settle()

    assert {answer.status for answer in (first, *again)} == {200}
    assert {answer.status for answer in refused} == {400}
    (flag,) = sidecar.get("/v1/flags").json()["flags"]
    assert (flag["rule"], flag["evidence_count"]) == ("duplicate_send", 3)
    assert flag["sources"]["trigger"] == {"double_enqueue": 2, "two_replicas": 1}
    assert flag["sources"]["caller"] == {"orders-replica": 2, "orders": 1}
    assert flag["ranked"][0]["count"] == 3
    assert {sample["caller"] for sample in flag["samples"]} <= {"orders", "orders-replica"}
    metric = {"trigger": "two_replicas", "outcome": "passed"}
    patience.until(lambda: sidecar.metric("whatsapp_duplicate_sends_total", **metric) == 1)


def test_where_duplicates_are_enforced_the_second_is_refused(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    sidecar.configure(graph={"url": graph.url, "duplicates": {"mode": "enforce", "within": "2s"}})
    assert sidecar.reload().status == 200
    first, second = send(sidecar), send(sidecar, TEXT.replace(b'"text",', b'"text" ,'))
    keyed = [send(sidecar, Idempotency_Key=key) for key in "ab"]
    time.sleep(2.1)
    later = send(sidecar)

    assert [answer.status for answer in (first, second, *keyed, later)] == [200, 409, 200, 200, 200]
    error = second.json()["error"]
    assert (error["code"], error["type"], error["is_transient"]) == (506, "WhatsAppMonitorRefusal", False)
    assert first.json()["messages"][0]["id"] in error["message"]
    assert second.headers["x-gate-reason"].startswith("duplicate; trigger=double_enqueue; first=wamid.")
    assert len(graph.requests) == 4
    patience.until(lambda: sidecar.metric("whatsapp_sends_total", outcome="duplicate") == 1)
    patience.until(lambda: sidecar.metric("whatsapp_duplicate_sends_total", outcome="refused") == 1)
    assert not sidecar.get("/v1/pauses").json()["pauses"]


def test_a_status_tells_what_became_of_a_send_that_was_not_answered(
    sidecar: Sidecar, sender: Meta, graph: Graph
) -> None:
    graph.delay_seconds = 1.5
    lost = send(sidecar, TEMPLATE, Idempotency_Key="order-7", X_Gate_Caller="orders", X_Gate_Campaign="spring")
    graph.delay_seconds = 0.0
    sidecar.settle()
    (unknown,) = sidecar.get("/v1/messages?state=unknown").json()["messages"]
    marked = json.loads(graph.requests[-1][1].body)["biz_opaque_callback_data"]

    sender.statuses(payloads.status("wamid.late", "sent", time.time(), callback_data=marked))
    sidecar.settle()
    settled = send(sidecar, TEMPLATE, Idempotency_Key="order-7")

    assert lost.status == 504
    assert (unknown["template"], unknown["campaign"]) == ("offer", "spring")
    assert (marked.startswith("wm1k"), marked.endswith(":order-7")) == (True, True)
    message = sidecar.get("/v1/messages/wamid.late").json()
    assert (message["biz_opaque_callback_data"], message["template"]) == ("order-7", "offer")
    assert not sidecar.get("/v1/messages?state=unknown").json()["messages"]
    assert (settled.status, settled.json()["messages"]) == (200, [{"id": "wamid.late"}])
    assert "idempotency-replayed" in settled.headers
    assert len(graph.requests) == 1
    patience.until(lambda: sidecar.metric("whatsapp_sends_total", outcome="settled") == 1)


def test_a_crash_while_a_send_was_under_way_is_settled_too(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.delay_seconds = 0.8
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(send, sidecar, TEMPLATE, Idempotency_Key="order-8")
        patience.until(lambda: graph.requests)
        sidecar.kill()
        assert isinstance(lost.exception(), OSError)
    graph.delay_seconds = 0.0
    sidecar.start()
    marked = json.loads(graph.requests[-1][1].body)["biz_opaque_callback_data"]
    sender.statuses(payloads.status("wamid.crashed", "sent", time.time(), callback_data=marked))
    sidecar.settle()

    again = send(sidecar, TEMPLATE, Idempotency_Key="order-8")

    assert (again.status, again.json()["messages"]) == (200, [{"id": "wamid.crashed"}])
    assert len(graph.requests) == 1


def test_without_a_key_no_byte_is_touched_unless_all_sends_are_to_be_marked(
    sidecar: Sidecar, sender: Meta, graph: Graph
) -> None:
    send(sidecar, TEXT)
    settings = {"url": graph.url, "mark_sends": "always", "timeout": "1s"}
    sidecar.configure(graph=settings)
    assert sidecar.reload().status == 200
    graph.delay_seconds = 1.5
    lost = send(sidecar, TEXT)
    graph.delay_seconds = 0.0
    marked = json.loads(graph.requests[-1][1].body)
    sender.statuses(
        payloads.status("wamid.found", "sent", time.time(), callback_data=marked["biz_opaque_callback_data"])
    )
    sidecar.settle()

    assert graph.requests[0][1].body == TEXT
    assert lost.status == 504
    assert marked == {**json.loads(TEXT), "biz_opaque_callback_data": marked["biz_opaque_callback_data"]}
    assert sidecar.get("/v1/messages/wamid.found").json()["biz_opaque_callback_data"] == ""
    (known,) = sidecar.get("/v1/messages?state=settled").json()["messages"]
    assert (known["wamid"].startswith("unsettled:"), known["became"]) == (True, "wamid.found")


def test_the_application_gets_its_own_value_back_under_a_good_signature(tmp_path: Path, graph: Graph) -> None:
    with (
        Target() as target,
        Sidecar(tmp_path, graph={"url": graph.url}, forward=[{"name": "app", "url": target.url}]) as sidecar,
    ):
        sidecar.start()
        send(sidecar, TEMPLATE, Idempotency_Key="order-9")
        marked = json.loads(graph.requests[-1][1].body)["biz_opaque_callback_data"]
        with meta.of(sidecar) as sender:
            item = payloads.status("wamid.1", "sent", time.time(), callback_data=marked)
            body = payloads.delivery(payloads.change(NUMBER, statuses=[item]), waba_id=WABA_ID)
            assert sender.post(body).status == 200
            patience.until(lambda: target.received)

    (request,) = target.received
    assert request.body == body.replace(marked.encode(), b"order-7")
    assert signature.verify(request.body, request.headers["x-hub-signature-256"].encode(), [APP_SECRET.encode()])


def test_sends_slow_down_before_meta_s_quota_is_used_up(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.usage = '{"call_count":90,"total_time":10,"total_cputime":10}'
    sent = [send(sidecar, TEXT.replace(b"llo", str(number).encode())) for number in range(21)]
    graph.usage = '{"call_count":100,"total_time":10,"total_cputime":10}'
    while send(sidecar, TEXT.replace(b"llo", str(time.time_ns()).encode())).status != 200:
        pass
    full = send(sidecar, TEXT.replace(b"llo", b"last"))
    asked = sidecar.get(f"/v1/gate/{NUMBER}")

    assert [answer.status for answer in sent].count(429) == 10
    assert (full.status, full.json()["error"]["code"], full.headers["retry-after"]) == (429, 4, "60")
    assert (asked.status, asked.json()["reason"]) == (403, "usage_app")
    assert sidecar.metric("whatsapp_graph_usage_ratio", kind="app") == 1.0


def test_no_path_leads_anywhere_but_to_graph(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    with Target() as elsewhere:
        for path in (f"/graph%2f@127.0.0.1:{elsewhere.port}/x", "/graph%2f:abc", "/%67raph/v23.0/1"):
            assert exchange.ask(sidecar.web_port, "GET", path).status in {400, 404}, path
    assert not elsewhere.heard
    assert not graph.requests
    assert "Traceback" not in sidecar.log


SPELLINGS = [
    ("POST", f"/graph/v23.0/{NUMBER}/%6dessages"),
    ("POST", f"/graph/v23.0/{NUMBER}/MESSAGES"),
    ("PUT", f"/graph/v23.0/{NUMBER}/messages"),
    ("GET", f"/graph/v23.0/{NUMBER}/messages?method=post"),
    ("POST", "/graph/v23.0/?batch=[]"),
    ("GET", "/graph/v23.0/?batch=[]&method=post"),
    ("GET", "/graph/v23.0/?%6dethod=post&batch=[]"),
    ("GET", "/graph/v23.0/me?+Method%5B%5D=post"),
    ("POST", "/graph/v23.0/me?b%61tch=[]"),
    ("GET", "/graph/v23.0/me?fields=id&batch"),
    ("POST", "/graph/"),
]


def test_no_spelling_of_a_send_passes_a_pause(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    assert sender.error(368).status == 200
    sidecar.settle()

    answers = [exchange.ask(sidecar.web_port, how, path, None if how == "GET" else TEXT) for how, path in SPELLINGS]

    assert [answer.status for answer in answers] == [403] * len(SPELLINGS)
    assert not graph.requests


def test_a_block_in_a_compressed_answer_is_understood(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.refusal = (403, 368)
    answer = send(sidecar, Accept_Encoding="gzip, deflate")

    assert graph.requests[0][1].headers["accept-encoding"] == "identity"
    assert answer.status == 403
    patience.until(lambda: sidecar.get("/v1/pauses").json()["pauses"])


def test_headers_between_neighbours_end_here(sidecar: Sidecar, graph: Graph) -> None:
    head = (
        f"POST /graph{PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
        f"Expect: 100-continue\r\nX-Kept: 1\r\nContent-Length: {len(TEXT)}\r\n\r\n"
    )
    answer = exchange.raw(sidecar.web_port, [head.encode() + TEXT])
    odd = exchange.raw(sidecar.web_port, [head.replace("X-Kept: 1", "X-Kept: caf\u00e9").encode("latin-1") + TEXT])

    assert (answer.status, odd.status, odd.json()["error"]["error_data"]["details"]) == (200, 400, "malformed")
    assert not odd.json()["error"]["is_transient"]
    ((_, request),) = graph.requests
    assert "x-kept" in request.headers
    assert not {"x-hop", "expect"} & set(request.headers)


def _taken(connection: socket.socket, line: bytes) -> int:
    """Send a line again and again; return how many bytes were taken until the connection was ended."""
    sent = 0
    try:
        while sent < 32 * 1024 * 1024:
            sent += connection.send(line)
    except OSError:
        pass
    return sent


def test_trailers_without_end_end_the_connection(sidecar: Sidecar) -> None:
    signed = "sha256=" + "0" * 64
    for port, path in ((sidecar.webhook_port, "/webhook"), (sidecar.web_port, f"/graph{PATH}")):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Hub-Signature-256: {signed}\r\n"
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n".encode())
            assert _taken(connection, b"X-Trailer: " + b"a" * 1000 + b"\r\n") < 16 * 1024 * 1024


def test_an_answer_that_drips_is_not_waited_for_beyond_the_timeout(
    sidecar: Sidecar, sender: Meta, graph: Graph
) -> None:
    graph.drip_seconds = 0.3
    started = time.monotonic()
    answer = send(sidecar)

    assert (answer.status, time.monotonic() - started < 3) == (504, True)


def test_a_kill_while_a_send_was_under_way_is_not_sent_again(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.delay_seconds = 0.8
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(send, sidecar, TEXT, Idempotency_Key="order-1")
        patience.until(lambda: graph.requests)
        sidecar.kill()
        assert isinstance(lost.exception(), OSError)
    sidecar.start()

    again = send(sidecar, TEXT, Idempotency_Key="order-1")

    assert (again.status, again.json()["error"]["error_data"]["details"]) == (502, "broken_off")
    assert len(graph.requests) == 1


def test_a_repetition_under_a_key_hears_its_answer_though_sending_is_paused(
    sidecar: Sidecar, sender: Meta, graph: Graph
) -> None:
    first = send(sidecar, TEXT, Idempotency_Key="order-2")
    assert sender.error(368).status == 200
    sidecar.settle()

    again, other = (send(sidecar, TEXT, Idempotency_Key=key) for key in ("order-2", "order-3"))

    assert (again.status, again.body, other.status) == (200, first.body, 403)


def test_read_receipts_are_no_messages(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    assert sender.error(368).status == 200
    sidecar.settle()

    assert send(sidecar, b'{"messaging_product":"whatsapp","status":"read","message_id":"wamid.1"}').status == 200


def test_a_forgotten_person_is_in_no_answer(sidecar: Sidecar, sender: Meta, graph: Graph) -> None:
    graph.contact = "15550000001"
    first = send(sidecar, TEXT, Idempotency_Key="order-4")
    assert b"15550000001" in first.body
    forgotten = sidecar.post("/v1/people/forget", actor="ann", reason="asked", recipient="15550000001")
    again = send(sidecar, TEXT, Idempotency_Key="order-4")

    assert forgotten.status == 200
    assert again.json()["messages"] == first.json()["messages"]
    assert b"15550000001" not in again.body


HOSTS = {"evil.example:9368": 421, "localhost:9368": 200, "[::1]:9368": 200, "127.0.0.1": 200}


def test_a_page_that_bound_its_name_to_this_machine_is_refused(sidecar: Sidecar) -> None:
    for host, status in HOSTS.items():
        named = {"Host": host}
        assert exchange.ask(sidecar.web_port, "GET", "/v1/pauses", None, named).status == status, host
        assert exchange.ask(sidecar.web_port, "GET", f"/v1/gate/{NUMBER}", None, named).status == 200, host
