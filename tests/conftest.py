"""What tests of several modules are given."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from monitor.store.opening import open_store
from monitor.store.sqlite import SqliteStore

LOST = 8  # the exit code where a test of `loss` failed, whatever else did


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let CI know a loss from what it may try once more."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if any("loss" in report.keywords for kind in ("failed", "error") for report in reporter.stats.get(kind, ())):
        session.exitstatus = LOST


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Give a new store that forwards to one destination."""
    opened = open_store(tmp_path / "monitor.db", ["app"])
    yield opened
    await opened.close()
