"""The board: one rendering for all, told once, to whoever follows from wherever they were."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from monitor import app as application
from monitor import config, payloads
from monitor.app import App
from monitor.events import PausePlaced
from monitor.store.protocol import StoreUnavailableError
from monitor.web import board
from monitor.web.acts import Acts
from monitor.web.board import PARTS, Board, Part
from tests.test_web import NUMBER, configured, get, hear, post


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = configured(tmp_path)
    built = application.build(config.load(file), file)
    await built.start()
    await built.pipeline.reach(await built.store.head())
    yield built
    await built.close()


async def read(stream: AsyncIterator[bytes], until: str, seconds: float = 5.0) -> str:
    """Read a stream until a text has come; return all that came."""
    text = ""
    async with asyncio.timeout(seconds):
        async for block in stream:
            text += block.decode()
            if until in text:
                return text
    raise AssertionError(f"ended without {until!r}: {text!r}")


def events(text: str) -> list[str]:
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


async def place(app: App, reason: str = "why") -> None:
    ask = {"scope": "phone_number", "scope_id": NUMBER, "actor": "ann", "reason": reason}
    assert (await post(app, "/v1/pauses", ask)).status == 201


async def test_a_page_that_follows_is_told_only_the_parts_that_change(app: App) -> None:
    await hear(app, payloads.change(NUMBER, statuses=[payloads.status("wamid.1", "sent", time.time())]))
    await app.board.current()
    stream = app.board.follow(app.board.mark)
    assert await anext(stream) == b"retry: 1000\n\n"

    await place(app)
    told = await read(stream, "event: mark")

    assert "Sending is paused" in told
    assert {"verdict", "pauses", "numbers", "audit", "mark"} <= set(events(told))
    assert not {"flags", "rules", "resends"} & set(events(told))
    await stream.aclose()


async def test_whoever_comes_back_is_told_what_was_missed_and_after_a_restart_everything(app: App) -> None:
    await app.board.current()
    missed = app.board.mark
    await place(app)
    await app.board.current()

    back = app.board.follow(missed)
    stranger = app.board.follow("00000000.7")
    some, all_ = await read(back, "event: mark"), await read(stranger, "event: mark")

    assert "verdict" in events(some)
    assert "rules" not in events(some)
    assert set(PARTS) <= set(events(all_))
    await back.aclose()
    await stranger.aclose()


async def test_two_hundred_pages_share_one_rendering(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await app.board.current()
    streams = [app.board.follow(app.board.mark) for _ in range(200)]
    for stream in streams:
        await anext(stream)
    rendered: list[str] = []
    original = board.Board._rendered

    def counted(self: Board, name: str, values: Any, version: int, now: float) -> Part:
        rendered.append(name)
        return original(self, name, values, version, now)

    monkeypatch.setattr(board.Board, "_rendered", counted)

    await place(app)
    told = await asyncio.gather(*(read(stream, "event: mark") for stream in streams))

    assert len(set(told)) == 1
    assert rendered.count("verdict") == 1
    for stream in streams:
        await stream.aclose()
    assert app.board.followers == 0


async def test_nothing_is_looked_at_while_no_page_is_open(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "LOOK_SECONDS", 0.01)
    await app.board.current()
    version = app.board.version

    await place(app)
    await asyncio.sleep(0.1)

    assert app.board.version == version


async def test_a_burst_of_changes_is_told_in_few_words(app: App) -> None:
    await app.board.current()
    stream = app.board.follow(app.board.mark)
    await anext(stream)
    acts = Acts(app.store, app.pipeline, app.clock)

    for number in range(100):
        await acts.place(PausePlaced("ann", "why", "phone_number", str(number), "all", None))
    told = await read(stream, "75 more, of", seconds=3.0)

    assert 1 <= told.count("event: pauses") <= 4
    await stream.aclose()


async def test_growing_evidence_is_told_less_often_than_a_verdict(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(board, "CALM_SECONDS", 0.5)
    await app.board.current()
    stream = app.board.follow(app.board.mark)
    await anext(stream)
    started = time.monotonic()

    for serial in range(40):
        item = payloads.status(f"wamid.{serial}", "failed", time.time(), codes=(368,))
        await hear(app, payloads.change(NUMBER, statuses=[item]))
        await asyncio.sleep(0.02)
    told = await read(stream, "40 events")
    most = 1 + (time.monotonic() - started) / 0.5

    assert events(told).count("verdict") == 1
    assert 2 <= events(told).count("pauses") <= most + 1
    await stream.aclose()


async def test_a_pause_that_ends_by_the_clock_is_gone_from_the_page(app: App) -> None:
    ask = {"scope": "all", "actor": "ann", "reason": "a moment", "for": "1s"}
    await post(app, "/v1/pauses", ask)
    before = (await get(app, "/")).body.decode()

    await asyncio.sleep(1.1)
    after = (await get(app, "/")).body.decode()

    assert "<h1>Sending is paused</h1>" in before
    assert "<h1>Sending is allowed</h1>" in after


async def test_closing_ends_every_stream_and_each_that_comes(app: App) -> None:
    await app.board.current()
    stream = app.board.follow(app.board.mark)
    await anext(stream)

    app.stop()

    assert [block async for block in stream] == []
    assert [block async for block in app.board.follow("")] == [b"retry: 1000\n\n"]


async def test_a_payload_can_neither_break_out_of_its_part_nor_out_of_the_stream(app: App) -> None:
    hostile = "a\r\nevent: verdict\rdata: <h1>All is well</h1>\n\n\u2028<script>alert(1)</script>"
    await app.board.current()
    stream = app.board.follow(app.board.mark)
    await anext(stream)

    await place(app, hostile)
    told = await read(stream, "event: mark")

    assert events(told).count("verdict") == 1
    assert "<h1>All" not in told
    assert "<script" not in told
    assert all(line.startswith(("event: ", "data: ", "id: ")) or not line for line in told.split("\n"))
    await stream.aclose()


async def test_where_the_store_does_not_answer_the_page_still_says_whether_sending_is_allowed(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the disk is gone")

    await place(app)
    monkeypatch.setattr(app.store, "audit", broken)

    answer = await get(app, "/")

    assert answer.status == 200
    assert b"<h1>Sending is paused" in answer.body
    assert b"The journal does not answer" in answer.body
