"""Services that apprise knows (an extra): e-mail, chat, SMS and some hundred more."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from monitor import services
from monitor.channels import SendError
from monitor.senders import Sender
from monitor.wordings import Told

_KINDS = {"critical": "failure", "warning": "warning", "info": "info"}


class Notifier:
    """One service, and the thread that speaks to it: apprise's own calls block."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._service = services.made(url)
        self._timeout_seconds = timeout_seconds
        self._thread = ThreadPoolExecutor(1, "notifier")

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

            try:
                async with asyncio.timeout(self._timeout_seconds):
                    is_sent = await asyncio.get_running_loop().run_in_executor(self._thread, notify)
            except TimeoutError:
                raise SendError("timeout") from None
            if not is_sent:
                raise SendError("not_taken")

        return send

    async def close(self) -> None:
        """Let the thread go; what it still says is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
