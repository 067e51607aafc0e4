"""What tests use where the machine has it: they are skipped and counted without, except in CI, where they must run."""

import os
import shutil
from typing import NoReturn

import pytest


def path(program: str) -> str:
    """Return the path of a program."""
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not installed (scripts/test installs Debian's package of it where it may)")
    return found


def missing(reason: str) -> NoReturn:
    """Leave a test out for a reason; fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
