"""The mark of how far the journal has come, in its file."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store.high_water import HighWater

OF_SEVEN = bytes.fromhex("0700000000000000 70d6e76f")  # as versions before this one wrote it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitor.db.head"


@pytest.fixture
def mark(path: Path) -> Iterator[HighWater]:
    opened = HighWater(path)
    yield opened
    opened.close()


def test_where_nothing_was_marked_the_mark_is_nought(mark: HighWater) -> None:
    assert mark.read() == 0


def test_the_newest_mark_is_read_also_after_a_restart(mark: HighWater, path: Path) -> None:
    for position in (1, 2**40, 300):
        mark.mark(position)

    again = HighWater(path)
    found = (mark.read(), again.read())
    again.close()

    assert found == (300, 300)


def test_the_mark_of_an_earlier_version_is_read(mark: HighWater, path: Path) -> None:
    path.write_bytes(OF_SEVEN)

    assert mark.read() == 7


@pytest.mark.parametrize("byte", range(len(OF_SEVEN)))
def test_a_mark_with_a_wrong_byte_tells_nothing(mark: HighWater, path: Path, byte: int) -> None:
    wrong = bytearray(OF_SEVEN)
    wrong[byte] ^= 1
    path.write_bytes(wrong)

    assert mark.read() == 0


def test_the_mark_is_nobody_else_s_to_read(mark: HighWater, path: Path) -> None:
    mark.mark(1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_its_file_is_held_until_it_is_closed(path: Path) -> None:
    opened = HighWater(path)

    before = [link for link in Path("/proc/self/fd").iterdir() if link.resolve() == path]
    opened.close()
    after = [link for link in Path("/proc/self/fd").iterdir() if link.resolve() == path]

    assert (len(before), after) == (1, [])


def test_a_mark_that_cannot_be_written_is_told() -> None:
    full = HighWater(Path("/dev/full"))

    with pytest.raises(OSError, match="No space left"):
        full.mark(1)
    found = full.read()
    full.close()

    assert found == 0
