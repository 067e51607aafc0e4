"""Waiting for what a real process will do soon, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def until(question: Callable[[], _T], *, seconds: float = 10.0, every: float = 0.02) -> _T:
    """Return the first answer that is true; AssertionError where none is in time. A question may raise OSError."""
    end = time.monotonic() + seconds
    while True:
        last: object
        try:
            answer = question()
        except OSError as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s; the last answer was {last!r}")
        time.sleep(every)
