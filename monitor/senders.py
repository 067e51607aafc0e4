"""How each kind of thing is said: forwards, and alerts to Alertmanager, webhooks, PagerDuty and Slack."""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from monitor import signature, tokens, wordings
from monitor.channels import Channel, SendError
from monitor.firings import Firing
from monitor.store.protocol import Entry
from monitor.wordings import Told

Sender = Callable[[Told, float], Awaitable[None]]
"""Tells an alert at a time; raises SendError where it does not arrive."""
_JSON = {"Content-Type": "application/json"}
_COLOURS = {"critical": "#c4162a", "warning": "#f2a900", "info": "#3274d9"}
_RESOLVED = "#2e7d32"
_SUMMARY_MOST = 1024  # PagerDuty's


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
    await channel.post(url, body, _JSON | {"X-Hub-Signature-256": signed, "X-Monitor-Delivery": str(entry.position)})


def alertmanager(channel: Channel, url: str) -> Sender:
    """Return a sender to one Alertmanager (API v2); alone, since one bad alert makes a whole batch a 400."""

    async def send(told: Told, now: float) -> None:
        answer = await channel.post(
            f"{url.rstrip('/')}/api/v2/alerts", msgspec.json.encode([wordings.record(told, now)]), _JSON
        )
        if _word(answer, "status") == "error":
            raise SendError("answer_error")

    return send


def webhook(channel: Channel, url: str, secret: str) -> Sender:
    """Return a sender of alerts in the form of Alertmanager's own webhooks (version 4)."""

    async def send(told: Told, now: float) -> None:
        one = wordings.record(told, now)
        body = {
            "version": "4",
            "groupKey": told.alert.id,
            "truncatedAlerts": 0,
            "status": told.state,
            "receiver": "whatsapp-monitor",
            "groupLabels": {"alertname": told.alert.rule},
            "commonLabels": one["labels"],
            "commonAnnotations": one["annotations"],
            "externalURL": told.page,
            "alerts": [{**one, "status": told.state, "fingerprint": told.alert.id}],
        }
        await _post_signed(channel, url, told.id, body, secret, now)

    return send


async def firing(
    channel: Channel, url: str, secret: str, firing: Firing, reference: str, now: float, page: str
) -> None:
    """Post a firing as it stands: what a rule's `webhook:` action sends when it fires and when that is over."""
    known = msgspec.to_builtins(firing)
    body = {"version": "1", "kind": "firing", "sent_at": wordings.time(now), "external_url": page, "firing": known}
    await _post_signed(channel, url, reference, body, secret, now)


def pagerduty(channel: Channel, url: str, routing_key: str) -> Sender:
    """Return a sender to PagerDuty's Events API v2; trigger and resolve of one alert share its id as dedup_key."""

    async def send(told: Told, _now: float) -> None:
        alert = told.alert
        event: dict[str, Any] = {
            "routing_key": routing_key,
            "event_action": "trigger" if told.ended_at is None else "resolve",
            "dedup_key": alert.id,
            "client": "WhatsApp monitor",
            "client_url": told.annotations["status_url"],
            "links": [
                {"href": told.annotations[name], "text": text}
                for name, text in (("runbook_url", "Runbook"), ("dashboard_url", "Dashboard"), ("trace_url", "Trace"))
                if name in told.annotations
            ],
            "payload": {
                "summary": alert.summary[:_SUMMARY_MOST],
                "source": alert.labels.get("phone_number_id") or alert.labels.get("waba_id") or "whatsapp-monitor",
                "severity": alert.severity,
                "timestamp": wordings.time(alert.since),
                "component": alert.rule,
                "class": "" if alert.code is None else str(alert.code),
                "custom_details": {**told.labels, **told.annotations},
            },
        }
        answer = await channel.post(url, msgspec.json.encode(event), _JSON)
        if _word(answer, "status") != "success":
            raise SendError("answer_error")

    return send


def slack(channel: Channel, api_url: str) -> Sender:
    """Return a sender to a Slack channel's incoming webhook."""

    async def send(told: Told, _now: float) -> None:
        known, alert = told.annotations, told.alert
        links = [
            f"<{known[name]}|{text}>"
            for name, text in (
                ("status_url", "Status page"), ("runbook_url", "Runbook"), ("dashboard_url", "Dashboard"),
                ("trace_url", "Trace"),
            )
            if name in known
        ]  # fmt: skip
        lines = [_escaped(known["description"]), *([f"`{_escaped(known['release'])}`"] if "release" in known else [])]
        attachment = {
            "color": _RESOLVED if told.ended_at is not None else _COLOURS.get(alert.severity, _COLOURS["info"]),
            "fallback": told.title,
            "title": told.title,
            "title_link": known["status_url"],
            "text": "\n".join([*lines, " · ".join(links)]),
            "mrkdwn_in": ["text"],
            "footer": " ".join(f"{name}={value}" for name, value in told.labels.items()),
            "ts": int(alert.since if told.ended_at is None else told.ended_at),
        }
        answer = await channel.post(api_url, msgspec.json.encode({"attachments": [attachment]}), _JSON)
        if answer.strip() != b"ok":
            raise SendError("answer_error")

    return send


def signed_headers(secret: str, message_id: str, now: float, body: bytes) -> dict[str, str]:
    """Return the headers of the Standard Webhooks specification; unsigned where there is no secret (`whsec_`, base64).

    Source: https://github.com/standard-webhooks/standard-webhooks, version 1.
    """
    at = str(int(now))
    headers = {"webhook-id": message_id, "webhook-timestamp": at}
    if secret:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        made = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(made).decode()}"
    return headers


async def _post_signed(
    channel: Channel, url: str, message_id: str, body: dict[str, Any], secret: str, now: float
) -> None:
    encoded = msgspec.json.encode(body)
    await channel.post(url, encoded, _JSON | signed_headers(secret, message_id, now, encoded))


def _word(answer: bytes, name: str) -> str:
    """Return a word of an answer in JSON, empty where it is none or has none of that name."""
    try:
        told = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        return ""
    return str(told.get(name, "")) if isinstance(told, dict) else ""


def _escaped(text: str) -> str:
    """Return a text without what Slack would take for markup (its three control characters)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
