"""What strangers and operators may send, for seconds: the committed corpus, and some thousands of changes of it.

`python -m tests.fuzz` searches for longer, guided by what it reaches.
"""

import random
import time
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


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_nothing_that_is_sent_makes_it_fail(name: str) -> None:
    chance = random.Random(368)
    known = corpus(name)
    words = (HERE / "words" / f"{name}.txt").read_bytes().splitlines()
    with targets.made(name) as target:
        run = targets.timely(target)
        for data in known:
            run(data)
        ends_at = time.monotonic() + SECONDS_MOST
        for _ in range(RUNS[name]):
            data = changed(known, words, chance)
            try:
                run(data)
            except Exception as error:
                raise AssertionError(f"found by {data!r}") from error
            if time.monotonic() > ends_at:
                break
