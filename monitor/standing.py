"""What stands: pauses, flags, alerts and incidents, found by what they are about however many there are.

Nothing here knows a clock: `now` is the journal's time of receipt. The maps are persistent (immutables.Map): a change
makes a new standing that shares all the rest with the one before.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar, assert_never

import msgspec
from immutables import Map

from monitor import generators, incidents
from monitor.actions import (
    META,
    Alert,
    AuditEntry,
    Flag,
    Incident,
    Pause,
    Resend,
    alert_ended_at,
    ids_of,
    is_in_force,
    is_reinstated,
)
from monitor.firings import Firing

LOOKED_AT_ONCE = 50
KEPT_SECONDS = 900.0  # how long what is over stays in memory: alerts go on being sent as resolved meanwhile
NARROW = frozenset(
    {"template", "campaign", "country", "recipient", "pair"}
)  # scopes that an ask meets by their id only
_R = TypeVar("_R")
Change = Pause | Flag | Alert | Resend | Incident | Firing | AuditEntry


class Standing(msgspec.Struct, frozen=True):
    """Everything that stands or was just over, by id; resends and firings stand elsewhere.

    `same` gives the newest record that is about the same thing, `wide` the pauses of whole senders, `narrow` the others
    by scope and id. `alerted` counts the alerts of each rule, `of_firing` gives the pauses and alerts of each firing.
    """

    pauses: Map[str, Pause] = Map()
    flags: Map[str, Flag] = Map()
    alerts: Map[str, Alert] = Map()
    incidents: Map[str, Incident] = Map()
    same: Map[Hashable, str] = Map()
    wide: Map[str, Pause] = Map()
    narrow: Map[tuple[str, str], Map[str, Pause]] = Map()
    alerted: Map[str, int] = Map()
    of_firing: Map[str, tuple[str, ...]] = Map()


def of(changes: Iterable[Change]) -> Standing:
    """Return the standing that these records make."""
    standing = Standing()
    for change in changes:
        standing = apply(standing, change)
    return standing


def apply(standing: Standing, change: Change) -> Standing:
    """Return the standing with the change in it."""
    match change:
        case Pause():
            known = standing.pauses.get(change.id)
            if known is None or known.firing_ids != change.firing_ids:
                standing = _fired(standing, change.id, known.firing_ids if known else (), change.firing_ids)
            pauses, same = standing.pauses.set(change.id, change), standing.same.set(about(change), change.id)
            if change.scope not in NARROW:
                wide = standing.wide.set(change.id, change)
                return msgspec.structs.replace(standing, pauses=pauses, same=same, wide=wide)
            narrow = standing.narrow
            for scope_id in ids_of(change):
                key = (change.scope, scope_id)
                narrow = narrow.set(key, narrow.get(key, Map()).set(change.id, change))
            return msgspec.structs.replace(standing, pauses=pauses, same=same, narrow=narrow)
        case Flag():
            flags, same = standing.flags.set(change.id, change), standing.same.set(about(change), change.id)
            return msgspec.structs.replace(standing, flags=flags, same=same)
        case Alert():
            told = standing.alerts.get(change.id)
            if told is None or told.firing_id != change.firing_id:
                standing = _fired(standing, change.id, _one(told), _one(change))
            alerts, same = standing.alerts.set(change.id, change), standing.same.set(about(change), change.id)
            alerted = standing.alerted
            if told is None:
                alerted = alerted.set(change.rule, alerted.get(change.rule, 0) + 1)
            return msgspec.structs.replace(standing, alerts=alerts, same=same, alerted=alerted)
        case Incident():
            return msgspec.structs.replace(standing, incidents=standing.incidents.set(change.id, change))
        case Resend() | Firing() | AuditEntry():
            return standing
        case _:
            assert_never(change)


def _one(alert: Alert | None) -> tuple[str, ...]:
    return (alert.firing_id,) if alert is not None and alert.firing_id else ()


def _fired(standing: Standing, record_id: str, before: tuple[str, ...], after: tuple[str, ...]) -> Standing:
    """Return the standing in which a record belongs to other firings than before."""
    of_firing = standing.of_firing
    for firing_id in set(before) - set(after):
        left = tuple(one for one in of_firing[firing_id] if one != record_id)
        of_firing = of_firing.set(firing_id, left) if left else of_firing.delete(firing_id)
    for firing_id in set(after) - set(before):
        of_firing = of_firing.set(firing_id, (*of_firing.get(firing_id, ()), record_id))
    return msgspec.structs.replace(standing, of_firing=of_firing)


def about(record: Pause | Flag | Alert) -> Hashable:
    """Return what a record is about: a further one that is about the same renews it while it lasts."""
    match record:
        case Pause():
            return (
                "pause",
                record.rule,
                record.scope,
                record.scope_id,
                record.lane,
                record.waba_id,
                record.per_second,
                record.language,
                record.reason if record.rule == META and record.scope == "waba" else "",
            )  # fmt: skip (a ban and a restriction may stop the same, and end apart)
        case Flag():
            return ("flag", record.rule, tuple(sorted(record.group.items())))
        case Alert():
            return ("alert", tuple(sorted(record.labels.items())))


def in_order(records: Mapping[str, _R], is_wanted: Callable[[_R], bool] = lambda _: True) -> list[_R]:
    """Return records in an order that is the same wherever the same journal is read: a map of these has none."""
    return [records[key] for key in sorted(key for key, record in records.items() if is_wanted(record))]


def pauses_of(standing: Standing, firing: Firing) -> list[Pause]:
    """Return the pauses that a firing has brought about, in order."""
    ids = sorted(standing.of_firing.get(firing.id, ()))
    return [pause for one in ids if (pause := standing.pauses.get(one)) is not None]


def alerts_of(standing: Standing, firing: Firing) -> list[Alert]:
    """Return the alerts of a firing, in order."""
    ids = sorted(standing.of_firing.get(firing.id, ()))
    return [alert for one in ids if (alert := standing.alerts.get(one)) is not None]


def concerning(standing: Standing, asked: Iterable[tuple[str, str]]) -> Iterator[Pause]:
    """Yield the pauses that may concern an ask about these narrow scopes, each with its id."""
    yield from standing.wide.values()
    if standing.narrow:
        for pair in asked:
            yield from standing.narrow.get(pair, Map()).values()


def known_as(standing: Standing, phone_number_id: str, person: str, alias: str) -> list[Pause]:
    """Return the pauses of one of two hashes of a person that do not hold by the other yet, holding by both."""
    return [
        msgspec.structs.replace(pause, aliases=(*pause.aliases, other))
        for one, other in ((person, alias), (alias, person))
        for scope, prefix in (("recipient", ""), ("pair", f"{phone_number_id}|"))
        for pause in standing.narrow.get((scope, prefix + one), Map()).values()
        if prefix + other not in ids_of(pause)
    ]


def _is_kept(pause: Pause, since: float) -> bool:
    return is_in_force(pause, since) or is_reinstated(pause, since)


def forget(standing: Standing, now: float) -> Standing:
    """Return the standing without what has been over for long; an alert keeps its pauses."""
    return generators.whole(forgetting(standing, now))


def forgetting(standing: Standing, now: float) -> Generator[None, None, Standing]:
    """Forget little by little: there may be tens of thousands of pauses."""
    since = now - KEPT_SECONDS

    def is_over(ended_at: float | None) -> bool:
        return ended_at is not None and ended_at <= since

    pauses, gone = standing.pauses, list[Pause | Flag | Alert | Incident]()
    lasting: list[Alert] = []
    for alert in standing.alerts.values():
        (gone if is_over(alert_ended_at(alert, pauses, now)) else lasting).append(alert)
    gone.extend(one for one in standing.incidents.values() if is_over(incidents.ended_at(one, pauses, now)))
    gone.extend(one for one in standing.flags.values() if is_over(one.resolved_at))
    needed = {pause_id for alert in lasting for pause_id in alert.pause_ids}
    for number, pause in enumerate(pauses.values()):
        if not number % LOOKED_AT_ONCE:
            yield
        if not _is_kept(pause, since) and pause.id not in needed:
            gone.append(pause)
    for record in gone:
        yield
        standing = without(standing, record)
    return standing


def without(standing: Standing, record: Pause | Flag | Alert | Incident) -> Standing:
    """Return the standing without a record."""
    if isinstance(record, Incident):
        return msgspec.structs.replace(standing, incidents=standing.incidents.delete(record.id))
    if not isinstance(record, Flag):
        standing = _fired(standing, record.id, record.firing_ids if isinstance(record, Pause) else _one(record), ())
    same = standing.same
    if same.get(about(record)) == record.id:
        same = same.delete(about(record))
    match record:
        case Pause() if record.scope in NARROW:
            narrow = standing.narrow
            for scope_id in ids_of(record):
                key = (record.scope, scope_id)
                here = narrow[key].delete(record.id)
                narrow = narrow.set(key, here) if here else narrow.delete(key)
            pauses = standing.pauses.delete(record.id)
            return msgspec.structs.replace(standing, pauses=pauses, same=same, narrow=narrow)
        case Pause():
            pauses, wide = standing.pauses.delete(record.id), standing.wide.delete(record.id)
            return msgspec.structs.replace(standing, pauses=pauses, same=same, wide=wide)
        case Flag():
            return msgspec.structs.replace(standing, flags=standing.flags.delete(record.id), same=same)
        case Alert():
            left = standing.alerted[record.rule] - 1
            alerted = standing.alerted.set(record.rule, left) if left else standing.alerted.delete(record.rule)
            alerts = standing.alerts.delete(record.id)
            return msgspec.structs.replace(standing, alerts=alerts, same=same, alerted=alerted)
        case _:
            assert_never(record)
