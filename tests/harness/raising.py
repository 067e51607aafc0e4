"""The sidecar with faults in it that quote what they were given: `python -m tests.harness.raising serve …`."""

import asyncio
import threading
from typing import Any

from monitor import app, effects, parse
from monitor.cli import main
from monitor.web import answers

UNREADABLE, INEFFECTIVE = "explode-parse", "explode-effect"


class QuotingError(Exception):
    """Says what it was given."""


def _plant(said: str) -> None:
    reading, take, close = parse.reading, effects.take, app.App.close

    def parsing(body: bytes, *arguments: Any) -> Any:
        if UNREADABLE.encode() in body:
            raise QuotingError(body)
        return reading(body, *arguments)

    def taking(step: Any, event: Any, moment: Any) -> Any:
        if INEFFECTIVE in getattr(event, "wamid", ""):
            try:
                raise KeyError(said)
            except KeyError as error:
                raise QuotingError(said, event) from error
        return take(step, event, moment)

    def paging(request: Any) -> Any:
        raise QuotingError(said, request.url, request.headers)

    async def retaining(_: Any) -> None:
        asyncio.get_running_loop().create_task(_fail(said)).set_name(said)
        asyncio.get_running_loop().call_soon(_raise, said)
        threading.Thread(target=_raise, args=(said,), name=said).start()
        _raise(said)

    async def closing(self: Any, *values: Any) -> None:
        await close(self, *values)
        _raise(said)

    for owner, name, fault in (
        (parse, "reading", parsing), (effects, "take", taking), (answers, "paging", paging),
        (app.App, "_retain", retaining), (app.App, "close", closing),
    ):  # fmt: skip
        setattr(owner, name, fault)


def _raise(said: str) -> None:
    raise QuotingError(said)


async def _fail(said: str) -> None:
    _raise(said)


if __name__ == "__main__":
    from tests.harness import canaries

    _plant(" ".join(canaries.ALL))
    main()
