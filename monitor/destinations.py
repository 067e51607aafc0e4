"""The destinations of a configuration: forwards, Alertmanagers and alert webhooks, ready for the outbox."""

from collections.abc import Awaitable, Callable, Sequence

from monitor import senders
from monitor.actions import Alert, alert_ended_at
from monitor.config import Loaded
from monitor.outbox import Destination
from monitor.sections import Config, Target
from monitor.senders import RESEND_SECONDS, RESOLVED_SECONDS, Channel, Links, SendError
from monitor.standing import Standing
from monitor.store.protocol import ALERTMANAGER, FIRING, WEBHOOK, OutboxRow, Store


def names(config: Config) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the names of the forwards, and name and kind of each alert destination."""
    alerts = [(name, ALERTMANAGER) for name, _ in _named(ALERTMANAGER, config.alerts.alertmanagers)]
    alerts += [(name, WEBHOOK) for name, _ in _named(WEBHOOK, config.alerts.webhooks)]
    return tuple(target.name for target in config.forward), tuple(alerts)


def build(
    loaded: Loaded, store: Store, standing: Callable[[], Standing], clock: Callable[[], float]
) -> tuple[list[Destination], list[Channel]]:
    """Return the destinations and the connection pools that they use."""
    config, directory = loaded.config, loaded.directory
    secrets = [secret.reveal().encode() for secret in loaded.app_secrets]
    made: list[Destination] = []
    channels: list[Channel] = []
    for receiver in config.forward:
        channel = Channel(receiver, directory)
        channels.append(channel)
        made.append(Destination(receiver.name, "forward", True, _forwarding(channel, receiver.url, store, secrets)))
    alerts = config.alerts
    links = Links(alerts.external_url, alerts.dashboard_url or "", alerts.trace_url or "", loaded.hash_key())
    for kind, targets, sender in (
        (ALERTMANAGER, config.alerts.alertmanagers, senders.alertmanager),
        (WEBHOOK, config.alerts.webhooks, senders.webhook),
    ):
        for name, target in _named(kind, targets):
            channel = Channel(target, directory)
            channels.append(channel)
            telling = _telling(kind, sender, channel, target.url, store, standing, clock, links)
            made.append(Destination(name, kind, False, telling))
    return made, channels


def _named(kind: str, targets: tuple[Target, ...]) -> list[tuple[str, Target]]:
    return [(target.name or f"{kind}_{number}", target) for number, target in enumerate(targets)]


def _forwarding(
    channel: Channel, url: str, store: Store, secrets: Sequence[bytes]
) -> Callable[[OutboxRow], Awaitable[float | None]]:
    async def send(row: OutboxRow) -> float | None:
        entry = await store.entry(int(row.reference))
        if entry is None:
            raise SendError("entry_gone", is_permanent=True)
        await senders.forward(channel, url, entry, secrets)
        return None

    return send


def _telling(
    kind: str,
    sender: senders.Sender,
    channel: Channel,
    url: str,
    store: Store,
    standing: Callable[[], Standing],
    clock: Callable[[], float],
    links: Links,
) -> Callable[[OutboxRow], Awaitable[float | None]]:
    """Send an alert as it stands at that moment: what is late in the outbox is never out of date."""

    async def send(row: OutboxRow) -> float | None:
        now = clock()
        if row.kind == FIRING:
            firing = await store.firing(row.reference.partition(":")[0])
            if firing is None:
                raise SendError("firing_gone", is_permanent=True)
            await senders.firing(channel, url, firing, now, links.page)
            return None
        alert_id, _, sequence = row.reference.partition("#")
        alert: Alert | None = standing().alerts.get(alert_id) or await store.alert(alert_id)
        if alert is None:
            raise SendError("alert_gone", is_permanent=True)
        if sequence and int(sequence) < alert.sequence:
            return None  # a later reminder says the same
        ended_at = alert_ended_at(alert, standing().pauses, now)
        is_told = kind == WEBHOOK and row.sent > 0 and ended_at is None
        if not is_told:
            await sender(channel, url, alert, ended_at, now, links)
        if sequence:
            return None
        if ended_at is None:
            return now + RESEND_SECONDS
        if kind == WEBHOOK or now >= ended_at + RESOLVED_SECONDS:
            return None
        return now + RESEND_SECONDS

    return send
