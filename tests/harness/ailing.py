"""The sidecar with one part of it that does not work: `python -m tests.harness.ailing FAULT serve …`."""

import asyncio
import sys
from enum import StrEnum
from typing import Any

from monitor import gate
from monitor.__main__ import main
from monitor.pipeline import Pipeline
from monitor.store.sqlite import SqliteStore

FOR_EVER_SECONDS = 3600.0


class Fault(StrEnum):
    """What does not work."""

    UNLOADED = "unloaded"  # what stands is never read
    GATE_FAILS = "gate_fails"
    BEHIND = "behind"  # what is journaled never takes effect


def program(fault: Fault) -> tuple[str, ...]:
    """Return what to run in the sidecar's place."""
    return sys.executable, "-m", "tests.harness.ailing", fault


async def _never(*_: Any) -> Any:
    await asyncio.sleep(FOR_EVER_SECONDS)


def _broken(*_: Any) -> Any:
    raise RuntimeError("our own mistake")


def _plant(fault: Fault) -> None:
    owner, name, function = {
        Fault.UNLOADED: (SqliteStore, "standing", _never),
        Fault.GATE_FAILS: (gate, "decide", _broken),
        Fault.BEHIND: (Pipeline, "run", _never),
    }[fault]
    setattr(owner, name, function)


if __name__ == "__main__":
    _plant(Fault(sys.argv.pop(1)))
    main()
