"""What left for a destination, as spans in the traces of the messages that it is about."""

import re
from collections.abc import Awaitable, Callable, Iterator

from monitor import parse
from monitor.actions import Alert
from monitor.channels import SendError
from monitor.events import Status
from monitor.store.protocol import Entry
from monitor.traces import Traces

_WAMID = re.compile(rb'"(wamid\.[!-~]{1,512}?)"')
MESSAGES_MOST = 16  # of one delivery: a batch of a thousand must not make a thousand spans


class Departures:
    """Tells traces of forwards and alerts; without traces it does nothing."""

    def __init__(self, traces: Traces | None, clock: Callable[[], float]) -> None:
        self._traces = traces
        self._clock = clock

    async def forwarding(self, destination: str, entry: Entry, sending: Awaitable[None]) -> None:
        """Send a delivery, and tell of it for each message that it has a status of."""
        began_at = self._clock()
        reason = await _reason(sending)
        if self._traces is not None:
            for wamid, is_failed in _messages(self._traces, entry):
                about = {"whatsapp.delivery": str(entry.position)}
                self._tell(wamid, f"forward {destination}", began_at, about, reason, is_failed=is_failed)
        _raise(reason)

    async def telling(self, destination: str, alert: Alert, state: str, sending: Awaitable[None]) -> None:
        """Send an alert, and tell of it for the newest message that it is about."""
        began_at = self._clock()
        reason = await _reason(sending)
        if alert.wamid:
            about = {"whatsapp.rule": alert.rule, "whatsapp.alert": alert.id, "whatsapp.alert.state": state}
            self._tell(alert.wamid, f"alert {destination}", began_at, about, reason, is_failed=alert.code is not None)
        _raise(reason)

    def _tell(
        self,
        wamid: str,
        name: str,
        began_at: float,
        about: dict[str, str],
        reason: SendError | None,
        *,
        is_failed: bool,
    ) -> None:
        if self._traces is not None:
            further = {} if reason is None else {"error.type": reason.reason}
            self._traces.departed(wamid, name, began_at, self._clock(), about | further, is_failed=is_failed)


async def _reason(sending: Awaitable[None]) -> SendError | None:
    try:
        await sending
    except SendError as error:
        return error
    return None


def _raise(reason: SendError | None) -> None:
    if reason is not None:
        raise reason


def _messages(traces: Traces, entry: Entry) -> Iterator[tuple[str, bool]]:
    """Yield the messages of a delivery and whether they failed; it is parsed only where one of them may be traced."""
    may_have_failed = b'"failed"' in entry.body
    named = set(_WAMID.findall(entry.body))
    if not any(traces.is_traced(wamid.decode(), is_failed=may_have_failed) for wamid in named):
        return
    found: dict[str, bool] = {}
    for event in parse.delivery(entry.body, entry.received_at, lambda _: ""):
        if isinstance(event, Status):
            found[event.wamid] = found.get(event.wamid, False) or event.status == "failed"
    yield from list(found.items())[:MESSAGES_MOST]
