"""A sidecar that tries to forward once and forgets: a test of losses must see it lose."""

from typing import Any

from monitor.__main__ import main
from monitor.outbox import Line
from monitor.store.protocol import Claim, Settlement


def once() -> None:
    """Let a failure be the end of a row."""

    def forget(_: Line, claim: Claim, *__: Any) -> Settlement:
        return Settlement(claim.row.id, "done")

    name = "_retry"
    setattr(Line, name, forget)


if __name__ == "__main__":
    once()
    main()
