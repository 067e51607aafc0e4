"""Every answer of the public listener, over real sockets."""

import contextlib
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.harness import exchange, meta, patience
from tests.harness.exchange import Answer
from tests.harness.meta import NUMBER
from tests.harness.sidecar import APP_SECRET, VERIFY_TOKEN, Sidecar

BODY_MOST = 4 * 1024 * 1024
NEXT_SECRET = "the-next-app-secret-0123456789ab"
SLOW_HEADERS_SECONDS = 10.0
SLOW_BODY_SECONDS = 15.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One sidecar for the tests that leave no trace in it but counters and journal entries."""
    hook = {"app_secrets": [APP_SECRET, NEXT_SECRET], "verify_tokens": [VERIFY_TOKEN, "the-next-token"]}
    with Sidecar(tmp_path_factory.mktemp("shared"), webhook=hook) as made:
        made.start()
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar that the test may end."""
    with Sidecar(tmp_path) as made:
        yield made


def post(sidecar: Sidecar, body: bytes, headers: dict[str, str], path: str = "/webhook") -> Answer:
    return exchange.ask(sidecar.webhook_port, "POST", path, body, headers)


def counted(sidecar: Sidecar, outcome: str) -> float:
    return sidecar.metric("whatsapp_monitor_deliveries_total", outcome=outcome)


def verify(sidecar: Sidecar, **changes: str) -> Answer:
    asked = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "1158201444"}
    asked.update({f"hub.{name}": value for name, value in changes.items()})
    return exchange.ask(sidecar.webhook_port, "GET", f"/webhook?{urlencode(asked)}")


@pytest.mark.parametrize("token", [VERIFY_TOKEN, "the-next-token"])
def test_the_verification_is_answered_with_its_challenge_as_plain_text(shared: Sidecar, token: str) -> None:
    answer = verify(shared, verify_token=token)

    assert (answer.status, answer.body) == (200, b"1158201444")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "changes",
    [{"verify_token": "wrong"}, {"verify_token": ""}, {"mode": "unsubscribe"}, {"challenge": "<script>"}],
    ids=lambda changes: "_".join(changes),
)
def test_a_verification_that_does_not_fit_is_answered_403(shared: Sidecar, changes: dict[str, str]) -> None:
    answer = verify(shared, **changes)

    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize("secret", [APP_SECRET, NEXT_SECRET])
def test_a_delivery_that_any_of_the_secrets_signed_is_answered_200(shared: Sidecar, secret: str) -> None:
    body = meta.delivery(f"wamid.signed.{secret}")

    answer = post(shared, body, meta.signed(body, secret))

    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"\xff\xfe", b"[" * 50_000, b'{"entry": null, "object": 7}'])
def test_signed_garbage_is_answered_200_since_sending_it_again_can_t_mend_it(shared: Sidecar, body: bytes) -> None:
    answer = post(shared, body, meta.signed(body))

    assert answer.status == 200


@pytest.mark.parametrize(
    "claimed",
    [
        None,
        "",
        "sha256=",
        "sha1=" + "0" * 40,
        "sha256=" + "0" * 63,
        "sha256=" + "g" * 64,
        "sha256=" + "0" * 64,
        "sha256=" + "\xe9" * 64,
    ],
)
def test_a_missing_or_malformed_or_wrong_signature_is_answered_401(shared: Sidecar, claimed: str | None) -> None:
    body = meta.delivery("wamid.unsigned")

    answer = post(shared, body, {} if claimed is None else {"X-Hub-Signature-256": claimed})

    assert (answer.status, answer.body) == (401, b"")


def test_a_signature_by_another_secret_is_answered_401(shared: Sidecar) -> None:
    body = meta.delivery("wamid.forged")

    assert post(shared, body, meta.signed(body, "the secret of somebody else")).status == 401


def test_two_signature_headers_are_answered_401_even_if_both_are_right(shared: Sidecar) -> None:
    body = meta.delivery("wamid.twice")
    line = meta.line(body)

    answer = exchange.raw(shared.webhook_port, [meta.head(line, line, length=len(body)), body])

    assert answer.status == 401


def test_no_signature_is_answered_before_the_body_arrives(shared: Sidecar) -> None:
    answer = exchange.raw(shared.webhook_port, [meta.head(length=1_000_000)])

    assert answer.status == 401


def test_five_megabytes_are_refused_with_413_and_the_client_hears_it(shared: Sidecar) -> None:
    body = b"x" * 5_000_000
    line = meta.line(body)

    declared = exchange.raw(shared.webhook_port, [meta.head(line, length=len(body)), body])
    chunks = [b"%x\r\n%s\r\n" % (50_000, body[:50_000]) for _ in range(100)]
    chunked = exchange.raw(shared.webhook_port, [meta.head(line, "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n"])

    assert (declared.status, chunked.status) == (413, 413)


def test_four_mebibytes_are_accepted(shared: Sidecar) -> None:
    body = b"x" * BODY_MOST

    assert post(shared, body, meta.signed(body)).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_compressed_body_is_answered_415(shared: Sidecar, encoding: str) -> None:
    body = meta.delivery("wamid.compressed")

    answer = post(shared, body, {**meta.signed(body), "Content-Encoding": encoding})

    assert answer.status == 415


@pytest.mark.parametrize("lines", [1, 400], ids=["one_line", "many_lines"])
def test_forty_kibibytes_of_headers_are_refused_with_431_and_the_client_hears_it(shared: Sidecar, lines: int) -> None:
    padding = [f"X-Padding-{number}: {'x' * (40 * 1024 // lines)}" for number in range(lines)]

    answer = exchange.raw(shared.webhook_port, [meta.head(*padding, length=0)])

    assert answer.status == 431


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/v1/pauses"),
        ("GET", "/v1/gate/200000000000001"),
        ("GET", "/-/ready"),
        ("POST", "/-/reload"),
        ("POST", "/v1/pauses"),
        ("POST", "/webhook/"),
        ("POST", "/webhook%0A"),
        ("POST", "/webhook/../webhook2"),
        ("PUT", "/webhook"),
        ("DELETE", "/webhook"),
        ("OPTIONS", "/webhook"),
    ],
)
def test_everything_else_on_the_public_listener_is_an_empty_404(shared: Sidecar, method: str, path: str) -> None:
    answer = exchange.ask(shared.webhook_port, method, path)

    assert (answer.status, answer.body) == (404, b"")


def test_more_bodies_than_memory_allows_are_answered_503_with_retry_after(shared: Sidecar) -> None:
    opened = meta.head("X-Hub-Signature-256: sha256=" + "0" * 64, length=BODY_MOST)
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", shared.webhook_port)))
            connection.sendall(opened)
        patience.until(lambda: exchange.raw(shared.webhook_port, [opened]).status == 503)
        answer = exchange.raw(shared.webhook_port, [opened])

    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    body = meta.delivery("wamid.afterwards")
    patience.until(lambda: post(shared, body, meta.signed(body)).status == 200)


def test_each_outcome_is_counted_under_its_name(own: Sidecar) -> None:
    own.start()
    body = meta.delivery("wamid.counted")
    post(own, body, meta.signed(body))
    post(own, body, meta.signed(body))
    post(own, body, {})
    post(own, body, meta.signed(b"another body"))
    exchange.raw(
        own.webhook_port, [meta.head("X-Hub-Signature-256: sha256=" + "0" * 64, length=5_000_000), b"x" * 5_000_000]
    )

    outcomes = ("accepted", "duplicate", "signature_missing", "signature_mismatch", "too_large")
    patience.until(lambda: all(counted(own, outcome) for outcome in outcomes))
    assert [counted(own, outcome) for outcome in outcomes] == [1] * 5


def test_a_body_that_its_client_cuts_off_is_not_journaled_and_hurts_nobody(own: Sidecar) -> None:
    own.start()
    body = meta.delivery("wamid.cut")
    line = meta.line(body)
    for kept in (0, 1, len(body) - 1):
        with socket.create_connection(("127.0.0.1", own.webhook_port)) as connection:
            connection.sendall(meta.head(line, length=len(body)) + body[:kept])
    whole = meta.delivery("wamid.whole")
    assert post(own, whole, meta.signed(whole)).status == 200

    assert own.terminate() == 0
    assert [delivery.body for delivery in own.oracle().deliveries] == [whole]
    assert "Traceback" not in own.log


@pytest.mark.slow
def test_slow_headers_and_slow_bodies_are_answered_408(shared: Sidecar) -> None:
    started_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        headers, body, silent, bare = (
            stack.enter_context(socket.create_connection(("127.0.0.1", shared.webhook_port), timeout=20))
            for _ in range(4)
        )
        headers.sendall(b"POST /webhook HTTP/1.1\r\nHost: loc")
        body.sendall(meta.head("X-Hub-Signature-256: sha256=" + "0" * 64, length=1000) + b"{")
        bare.sendall(meta.head("X-Hub-Signature-256: sha256=" + "0" * 64, length=1000))

        of_headers = exchange.hear(headers)
        headers_seconds = time.monotonic() - started_at
        ending = silent.recv(1)
        silent_seconds = time.monotonic() - started_at
        of_bare = exchange.hear(bare)
        bare_seconds = time.monotonic() - started_at
        of_body = exchange.hear(body)
        body_seconds = time.monotonic() - started_at

    assert of_headers.status == 408
    assert headers_seconds == pytest.approx(SLOW_HEADERS_SECONDS, abs=1.5)
    assert ending == b""
    assert silent_seconds == pytest.approx(SLOW_HEADERS_SECONDS, abs=1.5)
    assert of_bare.status == 408
    assert bare_seconds == pytest.approx(SLOW_HEADERS_SECONDS, abs=1.5)
    assert of_body.status == 408
    assert body_seconds == pytest.approx(SLOW_BODY_SECONDS, abs=1.5)


@pytest.mark.slow
def test_heads_whose_bodies_never_come_shut_nobody_out(shared: Sidecar) -> None:
    """Nobody needs a secret for them: a form of a signature is enough."""
    opened = meta.head("X-Hub-Signature-256: sha256=" + "0" * 64, length=BODY_MOST)
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", shared.webhook_port)))
            connection.sendall(opened)
        body = meta.delivery("wamid.shut-out")
        patience.until(lambda: post(shared, body, meta.signed(body)).status == 503)
        shut_at = time.monotonic()

        patience.until(lambda: post(shared, body, meta.signed(body)).status == 200, seconds=SLOW_HEADERS_SECONDS + 3)
        assert time.monotonic() - shut_at < SLOW_HEADERS_SECONDS + 3


@pytest.mark.slow
def test_a_second_request_s_body_must_come_too(shared: Sidecar) -> None:
    body = meta.delivery("wamid.second")
    with socket.create_connection(("127.0.0.1", shared.webhook_port), timeout=20) as connection:
        connection.sendall(meta.head(meta.line(body), length=len(body)) + body)
        first = exchange.hear(connection)
        started_at = time.monotonic()
        connection.sendall(meta.head(meta.line(body), length=len(body)))
        second = exchange.hear(connection)

    assert (first.status, second.status) == (200, 408)
    assert time.monotonic() - started_at == pytest.approx(SLOW_HEADERS_SECONDS, abs=1.5)


@pytest.mark.slow
def test_a_locked_journal_is_answered_503_with_retry_after_until_it_is_free_again(own: Sidecar) -> None:
    own.start()
    body = meta.delivery("wamid.locked")
    with contextlib.closing(sqlite3.connect(own.database, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        started_at = time.monotonic()
        refused = post(own, body, meta.signed(body))
        seconds = time.monotonic() - started_at
        gate = own.get(f"/v1/gate/{NUMBER}")
        stranger.execute("ROLLBACK")

    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    assert seconds < 4
    assert gate.status == 200
    patience.until(lambda: post(own, body, meta.signed(body)).status == 200, seconds=5)
    assert counted(own, "journal_unavailable") >= 1


@pytest.mark.parametrize("hosts", [(), ("Host: a", "Host: a"), ("Host: a", "host: b")])
def test_a_request_that_names_no_host_or_two_is_answered_400(shared: Sidecar, hosts: tuple[str, ...]) -> None:
    body = meta.delivery("wamid.host")
    signed = f"X-Hub-Signature-256: {meta.signed(body)['X-Hub-Signature-256']}"
    lines = ["POST /webhook HTTP/1.1", *hosts, signed, f"Content-Length: {len(body)}", "", ""]
    with socket.create_connection(("127.0.0.1", shared.webhook_port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 ")
