"""A listener's connections: each ends in time, and nothing is read as a request that is none."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from monitor import listeners

LINGER_SECONDS = 0.3
HEAD = b"%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"
INNER = b"GET /inner HTTP/1.1\r\nHost: a\r\n\r\n"


class Served:
    """A listener whose application reads the bodies of /whole only, and answers with what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[tuple[str, bytes]] = []

    async def app(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        """Answer."""
        body, more = b"", scope["path"].startswith("/whole")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.asked.append((scope["path"], body))
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(listeners, "LINGER_SECONDS", LINGER_SECONDS)
    made = Served()
    server, bound = listeners.server(made.app), listeners.bind("127.0.0.1:0")
    made.port = bound.getsockname()[1]
    serving = asyncio.create_task(server.serve([bound]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield made
    server.should_exit = True
    await serving
    bound.close()


async def said(served: Served, *pieces: bytes, drip: bytes = b"", seconds: float = 0.5) -> tuple[bytes, bool]:
    """Send pieces one after another, then drip on; return what came within some seconds, and whether that was all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    heard = bytearray()

    async def hear() -> None:
        while found := await _read(reader):
            heard.extend(found)

    hearing = asyncio.create_task(hear())
    end_at = time.monotonic() + seconds + 0.05 * len(pieces)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.05)
    while time.monotonic() < end_at and not hearing.done():
        writer.write(drip)
        await asyncio.sleep(0.02)
    is_ended = hearing.done()
    hearing.cancel()
    writer.close()
    return bytes(heard), is_ended


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_an_answer_that_comes_before_its_request_s_end_is_the_connection_s_last(
    served: Served, method: bytes
) -> None:
    heard, is_ended = await said(served, HEAD % (method, b"/early", 3_000_000) + b"\r\n{", INNER, drip=b"x")

    assert heard.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in heard
    assert is_ended
    assert served.asked == [("/early", b"")]


async def test_who_goes_on_sending_after_an_answer_is_cut_off_in_the_end(served: Served) -> None:
    """Such connections stayed for ever, and ninety of them took what a process may have open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    began_at = time.monotonic()
    writer.write(HEAD % (b"POST", b"/early", 3_000_000) + b"\r\n")
    answer = await _read(reader)
    while not writer.transport.is_closing() and time.monotonic() < began_at + 5:
        writer.write(b"x")
        await asyncio.sleep(0.02)
    writer.close()

    assert answer.endswith(b"ok")
    assert LINGER_SECONDS <= time.monotonic() - began_at < LINGER_SECONDS + 1


async def test_what_comes_whole_before_its_answer_leaves_the_connection_open(served: Served) -> None:
    head = HEAD % (b"POST", b"/whole", 4) + b"\r\n"

    heard, is_ended = await said(served, head + b"abcd", head, b"abcd", head + b"a", b"bcd", INNER)

    assert heard.count(b"HTTP/1.1 200 OK") == 4
    assert b"connection: close" not in heard
    assert not is_ended
    assert served.asked == [("/whole", b"abcd")] * 3 + [("/inner", b"")]


@pytest.mark.parametrize("split", [b"\r", b"\r\n", b"\r\nUpgr", b"\r\nUpgrade"])
async def test_an_upgrade_in_pieces_does_not_turn_a_body_into_a_request(served: Served, split: bytes) -> None:
    lines = HEAD[:-2] % (b"POST", b"/whole", len(INNER)) + b"\r\nConnection: Upgrade"
    rest = b"\r\nUpgrade: h2c\r\n\r\n".removeprefix(split)

    heard, is_ended = await said(served, lines + split, rest, INNER, INNER)

    assert (heard[:12], heard.count(b"HTTP/1.1 "), is_ended) == (b"HTTP/1.1 400", 1, True)
    assert served.asked == []


async def test_an_upgrade_behind_another_request_does_not_either(served: Served) -> None:
    second = HEAD % (b"POST", b"/whole", len(INNER)) + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + INNER

    heard, is_ended = await said(served, INNER + second, INNER)

    assert is_ended
    assert b"HTTP/1.1 400 " in heard
    assert set(served.asked) <= {("/inner", b"")}
    assert len(served.asked) <= 1


async def test_an_upgrade_in_one_piece_is_ignored_and_its_body_is_read(served: Served) -> None:
    sent = HEAD % (b"POST", b"/whole", 4) + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nabcd"

    heard, is_ended = await said(served, sent)

    assert (heard[:12], is_ended) == (b"HTTP/1.1 200", False)
    assert served.asked == [("/whole", b"abcd")]


async def test_nothing_is_taken_for_a_request_behind_one_that_was_refused(served: Served) -> None:
    refused = b"POST /whole HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 4\r\n\r\nabcd"

    heard, is_ended = await said(served, refused + INNER)

    assert (heard[:12], is_ended) == (b"HTTP/1.1 400", True)
    assert served.asked == []
