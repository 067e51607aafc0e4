"""Incidents: Meta restricts an account, and tells of it in several places that are one thing."""

from collections.abc import Iterable, Mapping

import msgspec

from monitor import aspects, codes
from monitor.account import BANNED, AccountUpdate, Restriction
from monitor.actions import META, Incident, Moment, Pause, Witness, is_in_force
from monitor.codes import Catalogue
from monitor.events import APART_SECONDS, AccountEvent, MetaEvent

CLASS = "policy_block"
QUIET_SECONDS = 86400.0  # without an end of Meta's and a pause, an incident is over after a day of silence
_HITS = frozenset({"waba", "business", "phone_number"})  # a block of one recipient or country is no incident
_BANS = frozenset({BANNED, "SCHEDULE_FOR_DISABLE"})
_MESSAGING = frozenset({"RESTRICTED_BIZ_INITIATED_MESSAGING", "RESTRICTED_CUSTOMER_INITIATED_MESSAGING", BANNED})


def concerns(catalogue: Catalogue, event: MetaEvent) -> bool:
    """Say whether the event bears witness to an account's restriction."""
    update = _update(event)
    if update is not None:
        return bool(update.restrictions) or update.ban_state in _BANS
    return bool(_codes(catalogue, event))


def hear(
    incidents: Mapping[str, Incident],
    pauses: Mapping[str, Pause],
    catalogue: Catalogue,
    event: MetaEvent,
    moment: Moment,
) -> Incident | None:
    """Return the incident that a witness opens or joins; None where all that it tells of is over."""
    update = _update(event)
    told = tuple(one for one in update.restrictions if one.until is None or one.until > moment.now) if update else ()
    if update is not None and update.ban_state == BANNED:  # it has no end, whatever was said before
        told = (*told, Restriction(BANNED, None))
    if update is not None and not told and update.ban_state not in _BANS:
        return None
    phone_number_id = getattr(event, "phone_number_id", "")
    witness = Witness(aspects.origin(event), event.occurred_at, moment.now, moment.position)
    known = current(incidents, pauses, event.waba_id, phone_number_id, moment.now)
    if known is None:
        return Incident(
            moment.id("i"), event.waba_id, phone_number_id, moment.now, moment.now, (witness,),
            _codes(catalogue, event), told, _end(told),
        )  # fmt: skip
    restrictions = tuple({one.restriction: one for one in (*known.restrictions, *told)}.values())
    return msgspec.structs.replace(
        known,
        waba_id=known.waba_id or event.waba_id,
        last_at=moment.now,
        witnesses=_with(known.witnesses, witness),
        codes=tuple(dict.fromkeys((*known.codes, *_codes(catalogue, event)))),
        restrictions=restrictions,
        until=_end(restrictions),
    )


def lifted(
    incidents: Mapping[str, Incident], pauses: Mapping[str, Pause], event: MetaEvent, moment: Moment
) -> Incident | None:
    """Return the incident that Meta ends with this event, unless a witness has spoken after it.

    Some witnesses are timed by our own clock.
    """
    update = _update(event)
    if update is None or not isinstance(event, AccountEvent) or not update.is_free:
        return None
    known = current(incidents, pauses, event.waba_id, event.phone_number_id, moment.now)
    if known is None or any(_last_said(one) > event.occurred_at + APART_SECONDS for one in known.witnesses):
        return None
    return closed(known, META, event.event, moment.now)


def closed(incident: Incident, by: str, reason: str, now: float) -> Incident:
    """Return the incident as over."""
    return msgspec.structs.replace(incident, closed_at=now, closed_by=by, close_reason=reason)


def ended_at(incident: Incident, pauses: Mapping[str, Pause], now: float) -> float | None:
    """Return when the incident ended, or None while it lasts; derived, so that no timer can be missed."""
    if incident.closed_at is not None:
        return incident.closed_at
    if incident.until is not None:
        return incident.until if now >= incident.until else None
    quiet_at = incident.last_at + QUIET_SECONDS
    if now < quiet_at:  # tens of thousands of pauses are not looked at for each event
        return None
    is_paused = any(pause.incident_id == incident.id and is_in_force(pause, now) for pause in pauses.values())
    return None if is_paused else quiet_at


def current(
    incidents: Mapping[str, Incident], pauses: Mapping[str, Pause], waba_id: str, phone_number_id: str, now: float
) -> Incident | None:
    """Return the incident of an account that lasts, if there is one; of a number where the account is not told."""
    same = [
        incident for incident in incidents.values()
        if (incident.waba_id == waba_id if waba_id else incident.phone_number_id == phone_number_id)
    ]  # fmt: skip
    lasting = (incident for incident in same if ended_at(incident, pauses, now) is None)
    return min(lasting, key=lambda incident: incident.id, default=None)


def _update(event: MetaEvent) -> AccountUpdate | None:
    detail = event.detail if isinstance(event, AccountEvent) else None
    return detail if isinstance(detail, AccountUpdate) else None


def _codes(catalogue: Catalogue, event: MetaEvent) -> tuple[int, ...]:
    found = (codes.find(catalogue, error.code) for error in aspects.errors(event))
    return tuple(code.code for code in found if code is not None and code.kind == CLASS and code.hits in _HITS)


def _end(restrictions: Iterable[Restriction]) -> float | None:
    """Return when the last of the restrictions of messaging ends, None where one has no end or none is told."""
    ends = [one.until for one in restrictions if one.restriction in _MESSAGING]
    return max((end for end in ends if end is not None), default=None) if None not in ends else None


def _last_said(witness: Witness) -> float:
    return max(witness.occurred_at, witness.last_occurred_at)


def _with(witnesses: tuple[Witness, ...], witness: Witness) -> tuple[Witness, ...]:
    for place, known in enumerate(witnesses):
        if known.origin == witness.origin:
            last = max(_last_said(known), witness.occurred_at)
            again = msgspec.structs.replace(known, count=known.count + 1, last_occurred_at=last)
            return (*witnesses[:place], again, *witnesses[place + 1 :])
    return (*witnesses, witness)
