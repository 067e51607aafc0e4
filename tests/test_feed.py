"""The feed: what followers are told, what they miss, and from where they go on."""

import asyncio
from typing import Any

import msgspec
import pytest

from monitor import feed
from monitor.actions import Evidence, Pause
from monitor.events import Status, Unparsed
from monitor.feed import USUAL, Feed
from monitor.memory import Memory, Number

PAUSE = Pause("p5-0", "waba", "100", "all", "rule", 368, "why", "rule:rule", 1.0, None, "waba")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> Feed:
    memory = Memory()
    made = Feed(lambda: memory, clock)
    made.begin(4)
    return made


def read(block: bytes | None) -> list[tuple[str, str, Any]]:
    """Return id, name and data of each event."""
    found = []
    for text in (block or b"").decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in text.split("\n") if line)
        if lines:
            found.append((lines.get("id", ""), lines["event"], msgspec.json.decode(lines["data"])))
    return found


def given(follower: feed.Follower) -> list[tuple[str, str, Any]]:
    found = []
    while not follower.blocks.empty():
        block = follower.blocks.get_nowait()
        assert block is not None
        found += read(block[1])
    return found


def test_a_step_is_told_to_those_who_want_it_and_its_last_event_has_the_id(hub: Feed) -> None:
    usual, statuses = hub.follow("a", USUAL), hub.follow("b", frozenset({"unparsed"}))
    heard = Unparsed("key", "100", 1.0, "not_json", "")

    hub.publish(5, [PAUSE], [Number("200", "100", "", 1.0)], [heard])

    assert [(one, name) for one, name, _ in given(usual)] == [("", "pause"), ("5", "number")]
    ((position, name, data),) = given(statuses)
    assert (position, name, data["reason"]) == ("5", "unparsed", "not_json")


def test_of_one_step_a_record_is_told_once_as_it_came_to_be(hub: Feed) -> None:
    follower = hub.follow("a", USUAL)

    hub.publish(5, [PAUSE, msgspec.structs.replace(PAUSE, evidence_count=7)], [], [])

    assert [data["evidence_count"] for _, _, data in given(follower)] == [7]


def test_who_comes_back_is_told_what_changed_meanwhile(hub: Feed) -> None:
    for position in (5, 6, 7):
        hub.publish(position, [msgspec.structs.replace(PAUSE, id=f"p{position}-0")], [], [])

    assert [data["id"] for _, _, data in read(hub.since(5, USUAL))] == ["p6-0", "p7-0"]
    assert hub.since(7, USUAL) == b""
    assert hub.since(4, USUAL) is not None


@pytest.mark.parametrize("position", [3, 8])
def test_what_is_too_old_or_not_ours_is_not_remembered(hub: Feed, position: int) -> None:
    hub.publish(5, [PAUSE], [], [])

    assert hub.since(position, USUAL) is None


def test_only_the_newest_steps_are_kept(hub: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEPT_RECORDS", 2)
    for position in (5, 6, 7):
        hub.publish(position, [PAUSE], [], [])

    assert hub.since(4, USUAL) is None
    assert len(read(hub.since(5, USUAL))) == 2


async def test_a_follower_that_takes_nothing_is_let_go(hub: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "WAITING_MOST", 2)
    slow = hub.follow("slow", USUAL)
    other = hub.follow("other", USUAL)
    for position in (5, 6):
        hub.publish(position, [PAUSE], [], [])
    given(other)

    hub.publish(7, [PAUSE], [], [])

    assert await asyncio.wait_for(slow.blocks.get(), 1) is None
    assert [one.name for one in hub.followers] == ["other"]
    assert len(given(other)) == 1


def test_a_heartbeat_has_no_id_while_something_waits(hub: Feed) -> None:
    follower = hub.follow("a", USUAL)
    assert [one[0] for one in read(hub.heartbeat(follower))] == ["4"]

    hub.publish(5, [PAUSE], [], [])

    assert [one[0] for one in read(hub.heartbeat(follower))] == [""]


def test_what_a_follower_has_seen_is_timed_from_the_commit(hub: Feed, clock: Clock) -> None:
    hub.follow("a", USUAL)
    hub.publish(5, [PAUSE], [], [])
    clock.now = 100.25

    assert hub.seen("a", 5) == 0.25
    assert hub.seen("a", 4) is None
    (shown,) = feed.shown(hub.followers)
    assert (shown["seen_position"], shown["seen_seconds"]) == (5, 0.25)


def test_no_line_break_of_anybody_s_can_forge_an_event(hub: Feed) -> None:
    follower = hub.follow("a", frozenset({"status", "pause"}))
    evil = "x\n\nevent: pause\ndata: {}\r\n\r\nevent: heartbeat"
    status = Status(evil, evil, evil, 1.0, evil, evil, evil, evil, None, (), evil)
    evidence = (Evidence(1, evil, 1.0, 1.0, title=evil),)

    hub.publish(5, [msgspec.structs.replace(PAUSE, reason=evil, evidence=evidence)], [], [status])

    found = given(follower)
    assert [name for _, name, _ in found] == ["pause", "status"]
    assert found[0][2]["reason"] == evil
