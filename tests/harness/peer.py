"""Programs that tests use where the machine has them: skipped without, except in CI, where they must be there."""

import os
import shutil

import pytest


def path(program: str) -> str:
    """Return the path of a program; skip the test where there is none, fail it in CI."""
    found = shutil.which(program)
    if found is not None:
        return found
    reason = f"{program} is not installed (scripts/test installs Debian's package of it where it may)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
