"""What events tell in passing: numbers, states, preferences, and two ids of one person."""

import msgspec

from monitor import account, standing, states
from monitor.account import Preference
from monitor.events import APART_SECONDS, AccountEvent, InboundMessage, MetaEvent, Sent, Status
from monitor.memory import SEEN_EVERY_SECONDS, Number
from monitor.step import Step

STOPPED_CODE = 131050  # the user stopped marketing messages
NO_ACCOUNT = "0"  # of the deliveries that Meta's own test button sends


def meet(step: Step, event: MetaEvent, number: Number | None, now: float) -> None:
    """Note what the event tells in passing: numbers, states, preferences, two ids of one person."""
    phone_number_id = getattr(event, "phone_number_id", "")
    if phone_number_id:
        _meet_number(step, event, number, phone_number_id, now)
    if type(event) is Status and not event.alias and not event.errors:
        return
    match event:
        case Status() | InboundMessage():
            if event.alias:
                person = event.recipient if isinstance(event, Status) else event.sender
                _introduce(step, person, event.alias, event.phone_number_id)
            if isinstance(event, Status) and any(error.code == STOPPED_CODE for error in event.errors):
                _prefer(step, event.recipient, is_stopped=True, at=event.occurred_at)
        case AccountEvent(detail=Preference() as preference):
            if preference.alias:
                _introduce(step, preference.recipient, preference.alias, event.phone_number_id)
            if preference.preference in {"stop", "resume"}:
                is_stopped = preference.preference == "stop"
                at = event.occurred_at if preference.said_at is None else preference.said_at
                _prefer(step, preference.recipient, is_stopped=is_stopped, at=at)
        case AccountEvent():
            for state in states.said(event):
                kept = states.newer(step.states.get(state.key) or step.memory.states.get(state.key), state)
                if kept is not None:
                    step.states[kept.key] = kept
        case _:
            pass


def join(step: Step, event: MetaEvent) -> None:
    """Let the pauses of whom the event is about hold by each hash that is known of that person."""
    if isinstance(event, Status | InboundMessage):
        _hold_by_all(step, event.recipient if isinstance(event, Status) else event.sender, event.phone_number_id)


def _introduce(step: Step, person: str, alias: str, phone_number_id: str) -> None:
    """Note that two hashes are one person's."""
    step.aliases[alias] = person
    for one, other in ((person, alias), (alias, person)):
        known = step.known.people.get(one, (one,))
        step.known.people[one] = known if other in known else (*known, other)
    _hold_by_all(step, person, phone_number_id)


def _hold_by_all(step: Step, person: str, phone_number_id: str) -> None:
    others = [one for one in step.known.people.get(person, ()) if one != person] if step.standing.narrow else []
    for alias in others:
        for pause in standing.known_as(step.standing, phone_number_id, person, alias):
            step.standing = standing.apply(step.standing, pause)
            step.learn([pause])


def _meet_number(step: Step, event: MetaEvent, known: Number | None, phone_number_id: str, now: float) -> None:
    waba_id, number = event.waba_id, getattr(event, "number", "")
    if waba_id == NO_ACCOUNT or (known is not None and known.waba_id and _is_older(event, known)):
        waba_id = ""
    reported_since = known.reported_since if known is not None else None
    if isinstance(event, Sent) and reported_since is None:
        reported_since = event.occurred_at
    if (
        known is not None
        and (waba_id == known.waba_id or not waba_id)
        and (number == known.number or not number)
        and reported_since == known.reported_since
        and now < known.seen_at + SEEN_EVERY_SECONDS
    ):
        return
    step.numbers[phone_number_id] = Number(
        phone_number_id,
        waba_id or (known.waba_id if known is not None else ""),
        number or (known.number if known is not None else ""),
        now,
        reported_since,
    )


def _is_older(event: MetaEvent, known: Number) -> bool:
    """Say whether an event is from before the number was last heard of: then it says nothing of its account now."""
    return event.occurred_at < known.seen_at - APART_SECONDS


def _prefer(step: Step, recipient: str, *, is_stopped: bool, at: float) -> None:
    told = step.preferences.get(recipient)
    if recipient and (told is None or at >= told[1]):
        step.preferences[recipient] = (is_stopped, at)


def resolved(step: Step, event: AccountEvent) -> AccountEvent:
    """Return the event with the id of the number that it names by its displayed form only."""
    number = "" if event.phone_number_id else account.number(event.detail)
    if not number:
        return event
    known = next((one.phone_number_id for one in step.numbers.values() if one.number == number), "")
    phone_number_id = known or step.memory.phone_number_ids.get(number, "")
    return msgspec.structs.replace(event, phone_number_id=phone_number_id)
