"""How each kind of thing leaves: forwards, Alertmanager alerts and alert webhooks over HTTP."""

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from monitor import __version__, durations, pseudonyms, signature, tokens
from monitor.actions import Alert
from monitor.firings import Firing
from monitor.sections import Target
from monitor.store.protocol import Entry

TRACE_ID = "{trace_id}"
RESEND_SECONDS = 30.0  # how often a firing alert is sent again; Alertmanager wants it within its resolve_timeout
LASTING = 4  # an alert that is not sent again ends after this many resend intervals
RESOLVED_SECONDS = 300.0  # how long the resolved form goes on being sent
ANSWER_BYTES_MOST = 64 * 1024
# What trying again can't mend: the request itself is refused. 401, 403 and 404 are a deployment's passing states.
_PERMANENT = frozenset({400, 405, 406, 410, 411, 413, 414, 415, 422, 431, 501})
_RETRY_AFTER_MOST_SECONDS = 3600.0


class Links(msgspec.Struct, frozen=True):
    """Where an alert leads: the status page, a dashboard and a trace, whose URL holds TRACE_ID; empty for none."""

    page: str
    dashboard: str = ""
    trace: str = ""
    hash_key: bytes = b""


class SendError(Exception):
    """It did not arrive; `is_permanent` says that trying again makes no sense."""

    def __init__(self, reason: str, *, is_permanent: bool = False, retry_after_seconds: float | None = None) -> None:
        self.reason = reason
        self.is_permanent = is_permanent
        self.retry_after_seconds = retry_after_seconds
        super().__init__(reason)


class Channel:
    """One connection pool to one HTTP target."""

    def __init__(self, target: Target, directory: Path) -> None:
        self._target = target
        self._client = httpx2.AsyncClient(**options(target, directory))

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        """Post a body; raise SendError for anything but a 2xx within the target's timeout."""
        try:
            async with (
                asyncio.timeout(self._target.timeout),
                self._client.stream("POST", url, content=body, headers=headers) as answer,
            ):
                await _drain(answer)
        except TimeoutError:
            raise SendError("timeout") from None
        except httpx2.TimeoutException:
            raise SendError("timeout") from None
        except httpx2.TransportError as error:
            raise SendError(f"transport: {type(error).__name__}") from None
        if answer.is_success:
            return
        status = answer.status_code
        raise SendError(
            f"status_{status}",
            is_permanent=status in _PERMANENT,
            retry_after_seconds=_retry_after(answer.headers.get("Retry-After", "")),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def forward(channel: Channel, url: str, entry: Entry, secrets: Sequence[bytes]) -> None:
    """Post a delivery as Meta did: the same bytes under the same signature, and our own id of it.

    Where it holds a token of ours, the application's own value stands in its place, signed with the secret that Meta
    used.
    """
    body, signed = entry.body, entry.signature
    if tokens.is_marked(body):
        secret = next((one for one in secrets if signature.verify(body, signed.encode(), [one])), None)
        if secret is not None and (own := tokens.restored(body)) != body:
            body, signed = own, signature.sign(own, secret)
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": signed,
        "X-Monitor-Delivery": str(entry.position),
    }
    await channel.post(url, body, headers)


async def alertmanager(
    channel: Channel, url: str, alert: Alert, ended_at: float | None, now: float, links: Links
) -> None:
    """Post one alert to one Alertmanager (API v2): alone, since one bad alert makes a whole batch a 400."""
    body = msgspec.json.encode([_alert(alert, ended_at, now, links)])
    await channel.post(f"{url.rstrip('/')}/api/v2/alerts", body, {"Content-Type": "application/json"})


async def webhook(channel: Channel, url: str, alert: Alert, ended_at: float | None, now: float, links: Links) -> None:
    """Post one alert in the form of Alertmanager's own webhooks (version 4)."""
    one = _alert(alert, ended_at, now, links)
    state = "firing" if ended_at is None else "resolved"
    body = {
        "version": "4",
        "groupKey": alert.id,
        "truncatedAlerts": 0,
        "status": state,
        "receiver": "whatsapp-monitor",
        "groupLabels": {"alertname": alert.rule},
        "commonLabels": one["labels"],
        "commonAnnotations": one["annotations"],
        "externalURL": links.page,
        "alerts": [{**one, "status": state, "fingerprint": alert.id}],
    }
    await channel.post(url, msgspec.json.encode(body), {"Content-Type": "application/json"})


async def firing(channel: Channel, url: str, firing: Firing, now: float, page: str) -> None:
    """Post a firing as it stands: what a rule's `webhook:` action sends when it fires and when that is over."""
    known = msgspec.to_builtins(firing)
    body = {"version": "1", "kind": "firing", "sent_at": _time(now), "external_url": page, "firing": known}
    await channel.post(url, msgspec.json.encode(body), {"Content-Type": "application/json"})


Sender = Callable[[Channel, str, Alert, float | None, float, Links], Awaitable[None]]


def _alert(alert: Alert, ended_at: float | None, now: float, links: Links) -> dict[str, object]:
    """Write an alert: endsAt always stands beside startsAt, and no label tells replicas or messages apart."""
    told = [f"{alert.evidence_count} event(s) since {_time(alert.since)[:19]}Z", f"rule {alert.rule}"]
    told += [f"code {alert.code}"] if alert.code is not None else []
    told += [f"most of them: {alert.source}"] if alert.source else []
    told += [f"over after {durations.text(ended_at - alert.since)}"] if ended_at is not None else []
    annotations = {"summary": alert.summary, "description": "; ".join(told) + ".", "status_url": links.page}
    if alert.pause_ids:
        annotations["pause"] = ", ".join(alert.pause_ids)
        annotations["release"] = f"whatsapp-monitor pauses resume {alert.pause_ids[0]} --actor NAME --reason TEXT"
    if alert.runbook:
        annotations["runbook_url"] = alert.runbook
    if links.dashboard:
        annotations["dashboard_url"] = links.dashboard
    if alert.flag_id:
        annotations["flag"] = alert.flag_id
    if alert.wamid:
        annotations["trace_id"] = f"{pseudonyms.trace_id(links.hash_key, alert.wamid):032x}"
        if links.trace:
            annotations["trace_url"] = links.trace.replace(TRACE_ID, annotations["trace_id"])
    labels = {**alert.labels, **({} if alert.code is None else {"code": str(alert.code)})}
    return {
        "labels": labels,
        "annotations": annotations,
        "startsAt": _time(alert.since),
        "endsAt": _time(now + LASTING * RESEND_SECONDS if ended_at is None else ended_at),
        "generatorURL": links.page,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


async def _drain(answer: httpx2.Response) -> None:
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > ANSWER_BYTES_MOST:
            return


def _retry_after(value: str) -> float | None:
    """Return a Retry-After in seconds, from 1 second to 1 hour; None where there is none that can be read."""
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(max(float(value), 1.0), _RETRY_AFTER_MOST_SECONDS)
    try:
        seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds() if value else None
    except (ValueError, TypeError, OverflowError):
        return None
    return None if seconds is None else min(max(seconds, 1.0), _RETRY_AFTER_MOST_SECONDS)


def options(target: Target, directory: Path) -> dict[str, Any]:
    """Return how a client of a target is made: its identity, TLS and deadline, and nothing from the environment."""
    own = {"User-Agent": f"whatsapp-monitor/{__version__}", "Accept-Encoding": "identity"}
    return {
        "headers": {**own, **_authorization(target, directory)},
        "verify": _tls(target, directory),
        "timeout": target.timeout,
        "follow_redirects": False,
        "trust_env": False,
    }


def _authorization(target: Target, directory: Path) -> dict[str, str]:
    if target.basic_auth is not None:
        basic = target.basic_auth
        password = basic.password.reveal() if basic.password else _text(directory, basic.password_file)
        pair = base64.b64encode(f"{basic.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    if target.authorization is not None:
        own = target.authorization
        credentials = own.credentials.reveal() if own.credentials else _text(directory, own.credentials_file)
        return {"Authorization": f"{own.type} {credentials}"}
    return {}


def _text(directory: Path, file: str | None) -> str:
    return "" if file is None else (directory / file).read_text(encoding="utf-8").strip()


def _tls(target: Target, directory: Path) -> ssl.SSLContext | bool:
    tls = target.tls_config
    if tls is None:
        return True
    context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(directory / tls.ca_file))
    if tls.cert_file is not None:
        context.load_cert_chain(
            str(directory / tls.cert_file), None if tls.key_file is None else str(directory / tls.key_file)
        )
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
