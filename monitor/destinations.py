"""The destinations of a configuration: forwards, Alertmanagers and all whom alerts are told, ready for the outbox."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from monitor import networks, notifiers, persons, secrets, senders, tellings, wordings
from monitor.actions import Alert, alert_ended_at
from monitor.channels import Channel, SendError
from monitor.config import Loaded
from monitor.departures import Departures
from monitor.outbox import Destination
from monitor.secrets import Secret
from monitor.sections import Config
from monitor.senders import Sender
from monitor.standing import Standing
from monitor.store.protocol import ALERTMANAGER, APPRISE, FIRING, PAGERDUTY, SLACK, WEBHOOK, Claim, OutboxRow, Store
from monitor.targets import ForwardTarget, Notifier, PagerDuty, Slack, Target, WebhookTarget
from monitor.tellings import Plan
from monitor.wordings import Links

ALERT_BACKOFF_MOST_SECONDS = 15.0  # an alert that could not be told is worth more than a quiet log
AlertTarget = Target | WebhookTarget | PagerDuty | Slack | Notifier


class Closing(Protocol):
    """What holds connections or threads."""

    async def close(self) -> None:
        """Give them back."""
        ...


async def close(channels: Sequence[Closing]) -> None:
    """Give back what destinations held; one that fails keeps none of the others."""
    await asyncio.gather(*(channel.close() for channel in channels), return_exceptions=True)


def named(config: Config) -> Iterator[tuple[str, str, AlertTarget]]:
    """Yield name, kind and section of each whom alerts are told; without a name of its own it is KIND_NUMBER."""
    alerts = config.alerts
    kinds: tuple[tuple[str, Sequence[AlertTarget]], ...] = (
        (ALERTMANAGER, alerts.alertmanagers), (WEBHOOK, alerts.webhooks), (PAGERDUTY, alerts.pagerduty),
        (SLACK, alerts.slack), (APPRISE, alerts.apprise),
    )  # fmt: skip
    for kind, targets in kinds:
        for number, target in enumerate(targets):
            yield target.name or f"{kind}_{number}", kind, target


def names(config: Config) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the names of the forwards, and name and kind of each alert destination."""
    return tuple(target.name for target in config.forward), tuple((name, kind) for name, kind, _ in named(config))


def build(
    loaded: Loaded, store: Store, standing: Callable[[], Standing], clock: Callable[[], float], departures: Departures
) -> tuple[list[Destination], list[Closing]]:
    """Return the destinations and what they hold; raise ValueError where a file of theirs can't be read."""
    config, directory = loaded.config, loaded.directory
    deny = networks.parse(config.outbound.deny_networks)
    app_secrets = [secret.reveal().encode() for secret in loaded.app_secrets]
    made: list[Destination] = []
    held: list[Closing] = []
    for receiver in config.forward:
        channel = Channel(receiver, directory, deny)
        held.append(channel)
        made.append(_forward(receiver, channel, app_secrets, departures))
    alerts = config.alerts
    links = Links(alerts.external_url, alerts.dashboard_url or "", alerts.trace_url or "", loaded.hash_key())
    for name, kind, target in named(config):
        holding: Closing
        fire: Callable[[Claim], Awaitable[None]] | None = None
        if isinstance(target, Notifier):
            notifier = notifiers.Notifier(_told(target.url, target.url_file, directory), target.timeout)
            holding, sender = notifier, notifier.sender()
        else:
            holding = channel = Channel(target, directory, deny)
            sender = _sender(target, channel, directory)
            if isinstance(target, WebhookTarget):
                fire = _firing(target, channel, directory, store, clock, links.page)
        held.append(holding)
        telling = _telling(name, kind, target, sender, fire, store, standing, clock, links, departures)
        made.append(
            Destination(
                name, kind, telling, timeout_seconds=target.timeout, backoff_most_seconds=ALERT_BACKOFF_MOST_SECONDS
            )
        )
    return made, held


def _forward(
    receiver: ForwardTarget, channel: Channel, app_secrets: Sequence[bytes], departures: Departures
) -> Destination:
    async def send(claim: Claim) -> float | None:
        if claim.entry is None:
            raise SendError("entry_gone", is_permanent=True)
        sending = senders.forward(channel, receiver.url, claim.entry, app_secrets)
        await departures.forwarding(receiver.name, claim.entry, sending)
        return None

    def keys(claim: Claim) -> Sequence[Hashable]:
        return persons.NOBODY if claim.entry is None else persons.of(claim.entry.body)

    orders: dict[str, Callable[[Claim], Sequence[Hashable]]] = {
        "person": keys, "all": lambda _: persons.NOBODY, "none": lambda _: (),
    }  # fmt: skip
    return Destination(
        receiver.name, "forward", send, orders[receiver.order], receiver.order == "all", receiver.concurrency,
        receiver.timeout,
    )  # fmt: skip


def _sender(target: Target | WebhookTarget | PagerDuty | Slack, channel: Channel, directory: Path) -> Sender:
    match target:
        case PagerDuty():
            return senders.pagerduty(channel, target.url, _told(target.routing_key, target.routing_key_file, directory))
        case Slack():
            return senders.slack(channel, _told(target.api_url, target.api_url_file, directory))
        case WebhookTarget():
            return senders.webhook(channel, target.url, _told(target.secret, target.secret_file, directory))
        case Target():
            return senders.alertmanager(channel, target.url)


def _told(value: Secret | None, file: str | None, directory: Path) -> str:
    if file is not None:
        return secrets.from_file(directory / file)[0].reveal()
    return "" if value is None else value.reveal()


def _firing(
    target: WebhookTarget, channel: Channel, directory: Path, store: Store, clock: Callable[[], float], page: str
) -> Callable[[Claim], Awaitable[None]]:
    secret = _told(target.secret, target.secret_file, directory)

    async def send(claim: Claim) -> None:
        firing = await store.firing(claim.row.reference.partition(":")[0])
        if firing is None:
            raise SendError("firing_gone", is_permanent=True)
        await senders.firing(channel, target.url, secret, firing, claim.row.reference, clock(), page)

    return send


def _telling(
    name: str,
    kind: str,
    target: AlertTarget,
    sender: Sender,
    fire: Callable[[Claim], Awaitable[None]] | None,
    store: Store,
    standing: Callable[[], Standing],
    clock: Callable[[], float],
    links: Links,
    departures: Departures,
) -> Callable[[Claim], Awaitable[float | None]]:
    """Send an alert as it stands at that moment: what is late in the outbox is never out of date."""
    severities = getattr(target, "severities", None)
    is_end_told = getattr(target, "send_resolved", True)

    async def send(claim: Claim) -> float | None:
        row, now = claim.row, clock()
        if row.kind == FIRING and fire is not None:
            await fire(claim)
            return None
        alert_id, _, sequence = row.reference.partition("#")
        alert: Alert | None = standing().alerts.get(alert_id) or await store.alert(alert_id)
        if alert is None:
            raise SendError("alert_gone", is_permanent=True)
        if severities is not None and alert.severity not in severities:
            return None
        ended_at = alert_ended_at(alert, standing().pauses, now)
        if sequence:
            plan = tellings.reminder(int(sequence), alert.sequence, ended_at)
        elif kind == ALERTMANAGER:
            plan = tellings.kept_alive(row.sent, row.created_at, ended_at, now)
        else:
            plan = tellings.once(row.sent, row.created_at, ended_at, now, is_end_told=is_end_told)
        if plan.says is not None:
            told = wordings.of(alert, ended_at if plan.says == tellings.RESOLVED else None, links)
            sending = sender(told, now)
            await (departures.telling(name, alert, told.state, sending) if _is_news(row, plan) else sending)
        return plan.again_at

    return send


def _is_news(row: OutboxRow, plan: Plan) -> bool:
    """Say whether what is told is a beginning or an end, rather than that an alert still lasts."""
    return not row.sent or (plan.says == tellings.RESOLVED and plan.again_at is None)
