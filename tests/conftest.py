"""What tests of several modules are given."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.opening import open_store
from monitor.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Give a new store that forwards to one destination."""
    opened = open_store(tmp_path / "monitor.db", ["app"])
    yield opened
    await opened.close()
