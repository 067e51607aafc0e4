"""Services that apprise knows (an extra): e-mail, chat, SMS and some hundred more."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from monitor import services
from monitor.channels import SendError
from monitor.senders import Sender
from monitor.wordings import Told

_KINDS = {"critical": "failure", "warning": "warning", "info": "info"}
_Call = tuple[Callable[[], bool], Future[bool]]


class Notifier:
    """One service, and the thread that speaks to it: apprise's own calls block.

    An executor's threads are waited for when the process ends, for as long as a mute service takes.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._service = services.made(url)
        self._timeout_seconds = timeout_seconds
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def sender(self) -> Sender:
        """Return a sender to the service."""

        async def send(told: Told, _now: float) -> None:
            known = told.annotations
            links = [
                known[name] for name in ("status_url", "runbook_url", "dashboard_url", "trace_url") if name in known
            ]
            body = "\n".join([known["description"], *([known["release"]] if "release" in known else []), *links])
            kind = "success" if told.ended_at is not None else _KINDS.get(told.alert.severity, "info")

            def notify() -> bool:
                return bool(self._service.notify(body=body, title=told.title, notify_type=kind, body_format="text"))

            taken: Future[bool] = Future()
            self._ask(notify, taken)
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    is_sent = await asyncio.wrap_future(taken)
            except TimeoutError:
                raise SendError("timeout") from None
            if not is_sent:
                raise SendError("not_taken")

        return send

    async def close(self) -> None:
        """Let the thread go; what it still says is not waited for."""
        self._calls.put(None)

    def _ask(self, notify: Callable[[], bool], taken: Future[bool]) -> None:
        self._calls.put((notify, taken))
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="notifier", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            notify, taken = call
            if not taken.set_running_or_notify_cancel():  # nobody waits for it any more
                continue
            try:
                taken.set_result(notify())
            except Exception as error:  # noqa: BLE001 (raised where it is waited for)
                taken.set_exception(error)
