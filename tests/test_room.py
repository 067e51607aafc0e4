"""Room on the disk, as the store sees it."""

import os
import time
from pathlib import Path

import pytest

from monitor.store import room
from monitor.store.room import LOOKED_AT_SECONDS, Room

BLOCK = 4096


def disk(monkeypatch: pytest.MonkeyPatch, free: int, size: int) -> None:
    """Let every disk have so many blocks free, and in all."""
    found = os.statvfs_result((BLOCK, BLOCK, size, free, free, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: found)


def test_what_is_kept_free_is_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "LOOKED_AT_SECONDS", 0.0)
    own = Room(tmp_path, keep_free_bytes=100 * BLOCK)

    disk(monkeypatch, free=101, size=10_000)
    assert own.is_left()
    disk(monkeypatch, free=100, size=10_000)
    assert not own.is_left()


def test_of_a_small_disk_a_quarter_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk(monkeypatch, free=50, size=100)
    own = Room(tmp_path, keep_free_bytes=10_000 * BLOCK)

    assert own.kept_bytes() == 25 * BLOCK
    assert own.is_left()


def test_a_directory_that_is_gone_has_no_room(tmp_path: Path) -> None:
    own = Room(tmp_path / "gone", keep_free_bytes=1)

    assert (own.free_bytes(), own.is_left()) == (0, False)


def test_the_disk_is_asked_once_in_a_while_and_not_for_each_delivery(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    own = Room(tmp_path, keep_free_bytes=BLOCK)

    disk(monkeypatch, free=1, size=100)
    at_first = own.is_left()
    disk(monkeypatch, free=2, size=100)
    now = LOOKED_AT_SECONDS * 0.99
    soon = own.is_left()
    now = LOOKED_AT_SECONDS
    later = own.is_left()

    assert (at_first, soon, later) == (False, False, True)
