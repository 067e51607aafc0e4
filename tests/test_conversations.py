"""Open windows in memory: bounded, renewed, and gone with the person."""

import pytest

from monitor import conversations
from monitor.conversations import Conversations, Window


def opened(*windows: Window) -> Conversations:
    made = Conversations()
    made.learn(windows)
    return made


def test_a_newer_message_renews_and_an_older_one_does_not() -> None:
    made = opened(Window("200", "a", 100.0), Window("200", "b", 110.0))
    made.learn([Window("200", "a", 200.0), Window("200", "b", 50.0)])

    assert made.counts(115.0) == {"200": 1}
    assert made.is_open("200", "a", 199.0)
    assert not made.is_open("200", "b", 115.0)


def test_of_too_many_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "WINDOWS_MOST", 100)
    made = opened(*(Window("200", f"person-{number}", 1_000.0 + number, f"alias-{number}") for number in range(1_000)))

    closed_at = 1_000.0 + 899  # the last of those that went
    assert made.counts(0.0) == {"200": 100}
    assert made.is_open("200", "alias-999", closed_at)
    assert not made.is_open("200", "person-899", closed_at)
    assert made.is_open("200", "person-899", closed_at - 1), "it may be: nobody knows"
    assert made.is_open("200", "person-0", closed_at - 1)


def test_a_forgotten_person_is_found_by_either_hash() -> None:
    made = opened(Window("200", "a", 100.0, "alias"), Window("201", "alias", 100.0), Window("200", "b", 100.0))

    made.forget(["alias"])

    assert made.counts(0.0) == {"200": 1}
    assert not made.is_open("200", "a", 0.0)
