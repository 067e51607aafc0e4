"""What strangers and operators may send, for seconds: the committed corpus, and some thousands of changes of it.

`python -m tests.fuzz` searches for longer, guided by what it reaches.
"""

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import targets

HERE = Path(__file__).parent / "fuzz"
SECONDS_MOST = 0.7
RUNS = dict.fromkeys(targets.TARGETS, 4000) | {"webhook": 600, "config": 250, "rules": 200, "acts": 600}


def corpus(name: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((HERE / "corpus" / name).iterdir())]


def changed(known: list[bytes], words: list[bytes], chance: random.Random) -> bytes:
    """Return one of what is known with a few bytes, words or stretches of it changed."""
    data = bytearray(chance.choice(known))
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        until = min(len(data), at + chance.choice([0, 1, 4, 32]))
        other = chance.choice(known)
        start = chance.randint(0, len(other))
        data[at:until] = chance.choice(
            [
                b"",
                bytes([chance.randrange(256)]),
                chance.choice(words),
                other[start : start + 64],
                bytes(data[at:until]) * 2,
            ]
        )
    return bytes(data)


def test_every_target_has_a_corpus_and_words() -> None:
    assert {folder.name for folder in (HERE / "corpus").iterdir()} == set(targets.TARGETS)
    assert {file.stem for file in (HERE / "words").iterdir()} == set(targets.TARGETS)


def searched(run: Callable[[bytes], None], known: list[bytes], words: list[bytes], runs: int) -> int:
    """Send what is known and so many changes of it, for a while; return how many were sent, or raise AssertionError."""
    chance = random.Random(368)
    ends_at = time.monotonic() + SECONDS_MOST
    sent = 0
    for data in itertools.chain(known, (changed(known, words, chance) for _ in range(runs))):
        try:
            run(data)
        except Exception as error:
            raise AssertionError(f"found by {data!r}") from error
        sent += 1
        if sent > len(known) and time.monotonic() > ends_at:
            break
    return sent


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_nothing_that_is_sent_makes_it_fail(name: str) -> None:
    known = corpus(name)
    words = (HERE / "words" / f"{name}.txt").read_bytes().splitlines()
    with targets.made(name) as target:
        sent = searched(targets.timely(target), known, words, RUNS[name])

    assert sent > len(known)


def test_what_fails_on_a_change_is_found_and_told() -> None:
    """The other arm: neither of the two that are known holds it."""

    def run(data: bytes) -> None:
        if b"ab" in data:
            raise ValueError

    with pytest.raises(AssertionError, match=r"found by b'.*ab"):
        searched(run, [b"a", b"b"], [b"a"], 4_000)
