"""How much a test does: as much as each run has time for, or as much as `scripts/soak` takes."""

import os
from typing import TypeVar

_T = TypeVar("_T")
IS_LONG = bool(os.environ.get("WHATSAPP_MONITOR_LONG"))


def of(usual: _T, long: _T) -> _T:
    """Return what counts in this run."""
    return long if IS_LONG else usual
