"""The application's own webhook receiver, whose moods a test may change."""

import ssl
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from tests.harness import ports
from tests.harness.answers import Part
from tests.harness.listener import Listener, Request


class Target:
    """Records every POST that it answers 2xx in `received`, and every one that reached it in `heard`.

    `status` is what it answers, `delay_seconds` how long that takes; with a `script` it plays that instead, and takes
    nothing. `down` and `up` are a process that ends and one that starts, then with `tls`.
    """

    def __init__(self) -> None:
        self.port = ports.free()
        self.status = 200
        self.delay_seconds = 0.0
        self.script: Callable[[], Iterable[Part]] | None = None
        self.tls: ssl.SSLContext | None = None
        self.heard: list[Request] = []
        self.received: list[Request] = []
        self._closing = threading.Event()
        self._listener = Listener(self.port, self._take)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http{'' if self.tls is None else 's'}://127.0.0.1:{self.port}/webhook"

    def up(self) -> None:
        """Listen."""
        self._closing.clear()
        self._listener.tls = self.tls
        self._listener.open()

    def down(self) -> None:
        """Refuse connections; what is being answered slowly is cut off."""
        self._closing.set()
        self._listener.close()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.down()

    def _take(self, request: Request) -> int | Iterable[Part]:
        self.heard.append(request)
        if self.script is not None:
            return self.script()
        status = self.status
        if self.delay_seconds and self._closing.wait(self.delay_seconds):
            return 503
        if status < 300:
            self.received.append(request)
        return status
