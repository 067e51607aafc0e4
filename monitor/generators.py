"""Generators: work that yields little by little, so that whoever does it may let others in between."""

from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Work(Generic[_T]):
    """Work that is done by iterating over it; `result` is what it returned, once it is done."""

    result: _T

    def __init__(self, steps: Generator[None, None, _T]) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[None]:
        """Go on until the next place where others may be let in."""
        self.result = yield from self._steps


def whole(steps: Generator[None, None, _T]) -> _T:
    """Do all of the work at once and return what it returns."""
    work = Work(steps)
    for _ in work:
        pass
    return work.result
