"""Many rows in few statements.

The sqlite3 module gives up the interpreter lock for each statement (and each row of `executemany`) and must win it back
from a busy event loop, which takes up to a switch interval: 64 inserts took 10 ms under load, one of 64 rows 0.5 ms.
"""

import functools
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

_SIZES = (256, 32, 4, 1)  # rows in a statement; few sizes, so that the prepared ones stay cached


def insert(
    db: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]], conflict: str = "", computed: str = ""
) -> None:
    """Insert rows: `into` is the statement up to VALUES, `conflict` what follows it.

    A last column that is `computed` by SQL spares a statement that would ask for it.
    """
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            chunk = rows[start : start + size]
            db.execute(_statement(into, len(chunk[0]), size, conflict, computed), tuple(chain.from_iterable(chunk)))
            start += size


def each(db: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement for each row; for none not even the lock is given up."""
    if rows:
        db.executemany(statement, rows)


@functools.cache
def _statement(into: str, width: int, size: int, conflict: str, computed: str) -> str:
    row = f"({', '.join([*'?' * width, *([computed] if computed else [])])})"
    return f"{into} VALUES {', '.join([row] * size)} {conflict}"
