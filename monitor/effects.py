"""What one event changes: of messages, what stands, resends, campaigns and states; it is gathered in a step."""

from collections.abc import Iterable, Iterator
from typing import assert_never

import msgspec

from monitor import (
    acquaintances,
    aspects,
    campaigns,
    codes,
    decisions,
    engine,
    gate,
    locks,
    messages,
    operators,
    resends,
    standing,
    states,
    tokens,
    turns,
)
from monitor.actions import Action, Incident, Moment, Resend, ResendAction
from monitor.conversations import WINDOW_SECONDS, Window
from monitor.events import (
    AccountEvent,
    Anomaly,
    DrillDone,
    Duplicate,
    EntriesLost,
    ErrorReport,
    Event,
    FlagResolved,
    InboundMessage,
    IncidentClosed,
    MetaEvent,
    NewCode,
    OperatorAct,
    OutboxRetried,
    PausePlaced,
    PauseReleased,
    PersonForgotten,
    PresumedExpired,
    ResendsClaimed,
    ResendSettled,
    RulesLoaded,
    SendFailed,
    Sent,
    Status,
    Tick,
    Unparsed,
    Unsettled,
)
from monitor.facts import Fact
from monitor.memory import Number
from monitor.messages import Advance, Message
from monitor.standing import Change
from monitor.step import Known, Step

_NO_WINDOW = frozenset({"system", "request_welcome"})  # not written by the customer


def take(step: Step, event: Event, moment: Moment) -> int:
    """Let time pass up to the moment and one event take effect in the step; return how many record ids that used."""
    if step.windows.next_at <= moment.now:
        used = turns.advance(step, moment)
        return used + _take(step, event, _later(moment, used))
    return _take(step, event, moment)


def _take(step: Step, event: Event, moment: Moment) -> int:
    if type(event) is Status:  # nearly all events are; matching the others takes half a microsecond
        return _happen(step, event, moment)
    match event:
        case Tick():
            return _tick(step, event, moment)
        case (
            PausePlaced() | PauseReleased() | FlagResolved() | ResendsClaimed() | ResendSettled() | RulesLoaded()
            | PersonForgotten() | IncidentClosed() | DrillDone() | OutboxRetried() | EntriesLost()
        ):  # fmt: skip
            made = _operate(step, event, moment)
            step.learn(made)
            step.facts.append(Fact(event, moment.now, changes=tuple(made)))
            return 1
        case _:
            return _happen(step, event, moment)


def derived_before(known: Known, wamids: Iterable[str], received_at: float) -> Iterator[MetaEvent]:
    """Yield what was derived of messages when the entry received at this time took effect, for the windows' sake."""
    for wamid in wamids:
        message = known.messages.get(wamid)
        for one in message.steps if message is not None else ():
            is_derived = one.status == messages.PRESUMED_EXPIRED or one.status in messages.ANOMALIES
            if message is not None and is_derived and one.received_at == received_at:
                yield _found(message, one.status, one.occurred_at)


def _happen(step: Step, event: MetaEvent, moment: Moment) -> int:
    if isinstance(event, AccountEvent):
        event = acquaintances.resolved(step, event)
    number = step.number(getattr(event, "phone_number_id", ""))
    advance, is_new = _fold(step, event, moment.now, number)
    if not is_new:
        step.facts.append(Fact(event, moment.now, is_repeated=True))
        return 0
    acquaintances.meet(step, event, number, moment.now)
    plan = step.settings.plan
    if type(event) is Status and not event.errors and not step.known.resends and engine.is_unwatched(plan, event):
        leaked = _leaked(step, advance)  # the usual status: no rule can match it
        step.facts.append(Fact(event, moment.now, False, advance, leaked=leaked))
        is_telling = advance is not None and (advance.contradictions or event.token)
        return _derive(step, event, advance, moment, 0) if is_telling else 0
    before_changes = len(step.changes)
    message = step.message(advance.message.wamid) if advance is not None else None
    leaked = _leaked(step, advance)  # before the event itself can pause anything
    step.standing, heard = decisions.hear(step.standing, plan.catalogue, event, moment)
    step.learn(heard)
    incident = next((change for change in heard if isinstance(change, Incident)), None)
    outcome = engine.evaluate(plan, step.windows, event, moment.position, moment.now, message)
    effect = turns.take(step, outcome.signals, moment)
    acquaintances.join(step, event)
    used = effect.used
    if message is not None and advance is not None:
        used += _resend(step, event, advance, message, effect.actions, _later(moment, used))
    if incident is not None:
        used += 1
    if step.settings.follows_meta and isinstance(event, AccountEvent) and locks.concerns(event):
        used += _lock(step, event, incident, _later(moment, used))
    changed = tuple(step.changes[before_changes:])
    step.facts.append(
        Fact(
            event, moment.now, False, advance, effect.actions, changed, effect.shadowed, outcome.matched, outcome.late,
            leaked, effect.crowded,
        )
    )  # fmt: skip
    return _derive(step, event, advance, moment, used)


def _lock(step: Step, event: AccountEvent, incident: Incident | None, moment: Moment) -> int:
    """Let Meta's own word place or lift its locks, unless it has said something newer meanwhile."""
    for state in states.said(event):
        known = step.states.get(state.key) or step.memory.states.get(state.key)
        if known is not None and known.said_at > event.occurred_at:
            return 0
    step.standing, changes = locks.hear(step.standing, event, incident, moment)
    step.learn(changes)
    return len(changes)


def _leaked(step: Step, advance: Advance | None) -> str:
    """Return the rule of a pause that a message which is heard of for the first time should not have passed."""
    if advance is None or advance.before is not None or not (step.standing.wide or step.standing.narrow):
        return ""
    message = advance.message
    ask = gate.asked_for(message)
    held = gate.stopped(standing.concerning(step.standing, gate.narrow(ask)), message, step.memory.wabas)
    return next((pause.rule for pause in held if pause.since < message.started_at), "")


def _derive(step: Step, event: MetaEvent, advance: Advance | None, moment: Moment, used: int) -> int:
    """Let what follows from an event happen too; return how many record ids were used by then."""
    for derived in _derived(step, event, advance, moment.now):
        used += _happen(step, derived, _later(moment, used))
    return used


def _later(moment: Moment, used: int) -> Moment:
    return msgspec.structs.replace(moment, serial=moment.serial + used) if used else moment


def _fold(step: Step, event: MetaEvent, now: float, number: Number | None) -> tuple[Advance | None, bool]:
    """Fold the event into what is known; say whether it is new."""
    policy = step.settings.policy
    since = number.reported_since if number is not None else None
    match event:
        case Status():
            advance = messages.advance(step.message(event.wamid), event, now, policy, since)
            return _moved(step, advance), advance is not None
        case Sent():
            advance = messages.accept(step.message(event.wamid), event, now, policy)
            return _moved(step, advance, event.campaign), advance is not None
        case PresumedExpired() | Anomaly():
            known = step.message(event.wamid)
            name = event.anomaly if isinstance(event, Anomaly) else messages.PRESUMED_EXPIRED
            found = messages.note(known, name, event.occurred_at, now, policy, since) if known is not None else None
            return _moved(step, found), found is not None
        case InboundMessage():
            message = messages.receive(step.message(event.wamid), event, now)
            if message is None:
                return None, False
            step.messages[event.wamid] = message
            _converse(step, event, now)
            return None, True
        case Unsettled():
            if step.message(messages.unsettled_id(event.token or event.key)) is not None:
                return None, False
            message = messages.unsettled(event, now)
            step.messages[message.wamid] = message
            return None, True
        case ErrorReport() | AccountEvent() | Unparsed() | SendFailed() | Duplicate() | NewCode():
            if event.key in step.seen or event.key in step.known.seen:
                return None, False
            step.seen[event.key] = now
            return None, True
        case _:
            assert_never(event)


def _moved(step: Step, advance: Advance | None, given_campaign: str = "") -> Advance | None:
    """Note a message that moved, with its campaign, and count it there."""
    if advance is None:
        return None
    message, before = advance.message, advance.before
    is_told = before is None or (before.callback_data, before.template) != (message.callback_data, message.template)
    if given_campaign or is_told:
        message = campaigns.named(step.settings.naming, message, given_campaign)
    step.messages[message.wamid] = message
    if message.campaign:
        _count(step, before, message)
        if before is None or not before.campaign:
            step.recent[message.phone_number_id, message.recipient] = message.wamid
    return advance if message is advance.message else msgspec.structs.replace(advance, message=message)


def _count(step: Step, before: Message | None, message: Message) -> None:
    for key, count in campaigns.counted(step.settings.plan.catalogue, before, message).items():
        step.counts[key] = step.counts.get(key, 0) + count


def _converse(step: Step, event: InboundMessage, now: float) -> None:
    """Open the customer's window, from now at the latest, and credit the campaign that the customer answers."""
    if event.sender and event.message_type not in _NO_WINDOW:
        closes_at = min(event.occurred_at, now) + WINDOW_SECONDS
        step.conversations.append(Window(event.phone_number_id, event.sender, closes_at, event.alias))
    wamid = event.context or step.newest_to(event.phone_number_id, event.sender)
    answered = step.message(wamid) if wamid else None
    if answered is None or answered.direction != "outbound" or answered.replied_at is not None:
        return
    is_late = event.occurred_at - answered.started_at > step.settings.reply_seconds
    if event.context or (not is_late and event.occurred_at >= answered.started_at):
        message = msgspec.structs.replace(answered, replied_at=event.occurred_at)
        step.messages[message.wamid] = message
        if message.campaign:
            _count(step, answered, message)


def _resend(
    step: Step, event: MetaEvent, advance: Advance, message: Message, actions: Iterable[Action], moment: Moment
) -> int:
    """List a message to be sent again, or take from the list what its arrival makes needless."""
    before = step.retried(message.wamid)
    if before is not None and (joined := resends.joined(before, message)) is not None:
        step.learn([joined])
    if messages.has_arrived(message):
        if advance.before is None or not messages.has_arrived(advance.before):
            step.learn(_superseded(step, message, getattr(event, "alias", ""), moment.now))
        return 0
    by_rules = [action for action in actions if isinstance(action, ResendAction)]
    asked = resends.wanted(
        step.settings.plan.catalogue, event, by_rules, by_catalogue=step.settings.resend_by_catalogue
    )
    if asked is None or step.resend(message.wamid) is not None or not isinstance(event, Status | PresumedExpired):
        return 0
    is_stopped = step.has_stopped(message.recipient, getattr(event, "alias", ""))
    step.learn(resends.listed(event, message, asked, moment, is_stopped=is_stopped, before=before))
    return 1


def _superseded(step: Step, message: Message, alias: str, now: float) -> list[Resend]:
    own = step.resend(message.wamid)
    needless = [resends.superseded(own, "arrived", now)] if own is not None and own.state == "pending" else []
    people = dict.fromkeys(filter(None, (message.recipient, alias)))
    return needless + [
        resends.superseded(one, "later_success", now)
        for person in people
        for one in step.resends_of_person(person)
        if resends.is_superseded_by(one, message)
    ]


def _derived(step: Step, event: MetaEvent, advance: Advance | None, now: float) -> Iterator[MetaEvent]:
    if advance is not None:
        for name in advance.contradictions:
            yield _found(advance.message, name, event.occurred_at)
    if isinstance(event, Status) and event.token:
        yield from _settled(step, event, advance, now)
    if isinstance(event, NewCode | PresumedExpired):
        return
    for error in aspects.errors(event):
        if error.code is None or codes.find(step.settings.plan.catalogue, error.code) is not None:
            continue
        key = new_code_key(error.code)
        if key not in step.seen and key not in step.known.seen:
            yield NewCode(
                key, event.waba_id, getattr(event, "phone_number_id", ""), event.occurred_at,
                aspects.origin(event), error,
            )  # fmt: skip


def _settled(step: Step, event: Status, advance: Advance | None, now: float) -> Iterator[MetaEvent]:
    """Let a status tell what became of a send that the Graph API did not answer, or of which no answer is known yet."""
    pending = step.message(messages.unsettled_id(event.token[1:]))
    is_pending = pending is not None and pending.state == messages.UNKNOWN
    is_first = advance is not None and advance.before is None
    if event.token[:1] == tokens.KEYED and (is_pending or is_first):
        step.answered[event.token[1:]] = event.wamid
    if pending is not None and is_pending:
        step.messages[pending.wamid] = messages.settled(pending, event, now)
        yield messages.taken(pending, event)


def new_code_key(code: int) -> str:
    """Return the key by which a code that the catalogue does not know is remembered."""
    return f"code|{code}"


def _found(message: Message, name: str, at: float) -> MetaEvent:
    key = f"{message.wamid}|{name}|"
    if name == messages.PRESUMED_EXPIRED:
        return messages.expired(message, at, key)
    return Anomaly(key, message.waba_id, message.phone_number_id, at, message.wamid, message.recipient, name)


def _tick(step: Step, tick: Tick, moment: Moment) -> int:
    """Judge messages of which nothing more was heard."""
    step.facts.append(Fact(tick, moment.now))
    used = 0
    policy = step.settings.policy
    for wamid in tick.wamids:
        message = step.message(wamid)
        if message is None:
            continue
        since = step.reported_since(message.phone_number_id)
        for name in messages.judge(message, tick.at, policy, since):
            used += _happen(step, _found(message, name, tick.at), _later(moment, used))
        judged = step.message(wamid)
        if judged is not None and judged.due_at is not None and judged.due_at <= tick.at:
            step.messages[wamid] = messages.reconsidered(judged, policy, since)
    return used


def _operate(step: Step, act: OperatorAct, moment: Moment) -> list[Change]:
    changes: list[Change]
    known = step.known
    match act:
        case PausePlaced():
            step.standing, changes = operators.place(step.standing, act, moment)
        case PauseReleased():
            step.standing, changes = operators.release(step.standing, act, moment)
        case FlagResolved():
            step.standing, changes = operators.resolve(step.standing, act, moment)
        case ResendsClaimed():
            wamids = [resend.wamid for resend in known.resends.values()]
            current = {wamid: message for wamid in wamids if (message := step.message(wamid)) is not None}
            stopped = {one.recipient for one in current.values() if step.has_stopped(one.recipient)}
            changes = list(resends.claim(known.resends, current, stopped, act, moment))
        case ResendSettled():
            retry = step.message(act.wamid)
            changes = list(resends.settle(known.resends, {act.wamid: retry} if retry else {}, act, moment))
        case RulesLoaded():
            changes = [*operators.adopt(act, moment), *turns.adopt(step, moment)]
        case EntriesLost():
            changes = operators.note_loss(act, moment)
        case PersonForgotten():
            step.standing, changes = operators.forget_people(step.standing, act, moment)
            changes = [*changes, *turns.forget(step, act.people, moment)]
            step.forgotten.extend(act.people)
        case IncidentClosed():
            step.standing, changes = operators.close(step.standing, act, moment)
        case OutboxRetried():
            step.retried_rows.append((act.row_id, act.destination))
            target = act.destination or (str(act.row_id) if act.row_id else "all")
            changes = [operators.audit(moment, act.actor, "outbox_retry", target, act.reason)]
        case DrillDone():
            changes = [operators.drilled(act, moment)]
        case _:
            assert_never(act)
    return changes
