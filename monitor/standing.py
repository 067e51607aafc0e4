"""What stands (pauses, flags, alerts) and how decided actions and operators' acts change it.

Every function takes the standing as it is and returns changes; `apply` folds a change in. Nothing here knows a clock:
`now` is the journal's time of receipt.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

import msgspec

from monitor.actions import (
    EVIDENCE_KEPT,
    Action,
    Alert,
    AlertAction,
    AuditEntry,
    Flag,
    FlagAction,
    Pause,
    PauseAction,
    Resend,
    ResendAction,
    alert_ended_at,
    is_in_force,
)
from monitor.events import FlagResolved, PausePlaced, PauseReleased, ResendsClaimed, ResendSettled, RulesLoaded
from monitor.messages import RANKS, Message

OPERATOR = "operator"  # stands for the rule's name on a pause that a human placed
KEPT_SECONDS = 900.0  # how long what is over stays in memory: alerts go on being sent as resolved meanwhile
Change = Pause | Flag | Alert | Resend | AuditEntry


class Standing(msgspec.Struct, frozen=True):
    """Everything that stands or was just over, by id; resends stand in the store only."""

    pauses: dict[str, Pause] = {}
    flags: dict[str, Flag] = {}
    alerts: dict[str, Alert] = {}


class Moment(msgspec.Struct, frozen=True):
    """Where in the journal a decision is taken; `serial` tells the decisions of one entry apart."""

    position: int
    now: float
    rules_hash: str
    serial: int = 0

    def id(self, letter: str) -> str:
        """Return the id of a record that is made here."""
        return f"{letter}{self.position}-{self.serial}"


def apply(standing: Standing, change: Change) -> Standing:
    """Return the standing with the change in it."""
    match change:
        case Pause():
            return msgspec.structs.replace(standing, pauses={**standing.pauses, change.id: change})
        case Flag():
            return msgspec.structs.replace(standing, flags={**standing.flags, change.id: change})
        case Alert():
            return msgspec.structs.replace(standing, alerts={**standing.alerts, change.id: change})
        case Resend() | AuditEntry():
            return standing
        case _:
            assert_never(change)


def forget(standing: Standing, now: float) -> Standing:
    """Return the standing without what has been over for long; an alert keeps its pauses."""
    since = now - KEPT_SECONDS
    alerts = {
        alert.id: alert
        for alert in standing.alerts.values()
        if (ended_at := alert_ended_at(alert, standing.pauses, now)) is None or ended_at > since
    }
    needed = {pause_id for alert in alerts.values() for pause_id in alert.pause_ids}
    pauses = {pause.id: pause for pause in standing.pauses.values() if is_in_force(pause, since) or pause.id in needed}
    flags = {flag.id: flag for flag in standing.flags.values() if flag.resolved_at is None or flag.resolved_at > since}
    return Standing(pauses, flags, alerts)


def decide(
    standing: Standing, actions: Sequence[Action], moment: Moment, message: Message | None
) -> tuple[Standing, list[Change]]:
    """Return what the actions of one event change; `message` is what is known of the event's own message."""
    changes: list[Change] = []
    for number, action in enumerate(actions):
        here = msgspec.structs.replace(moment, serial=moment.serial + number)
        match action:
            case PauseAction():
                made = _pause(standing, action, here)
            case FlagAction():
                made = _flag(standing, action, here)
            case ResendAction():
                made = _resend(action, here, message)
            case AlertAction():
                placed = tuple(
                    change.id for change in changes if isinstance(change, Pause) and change.rule == action.rule
                )
                flagged = next(
                    (change.id for change in changes if isinstance(change, Flag) and change.rule == action.rule), ""
                )
                made = [_alert(standing, action, here, placed, flagged)]
            case _:
                assert_never(action)
        for change in made:
            standing = apply(standing, change)
        changes.extend(made)
    return standing, changes


def place(standing: Standing, act: PausePlaced, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's pause changes."""
    pause = Pause(
        id=moment.id("p"),
        scope=act.scope,
        scope_id=act.scope_id,
        lane=act.lane,
        rule=OPERATOR,
        code=None,
        reason=act.reason,
        actor=act.actor,
        since=moment.now,
        until=act.until,
        asked_scope=act.scope,
        rules_hash=moment.rules_hash,
    )
    return apply(standing, pause), [pause, _audit(moment, act.actor, "pause", pause.id, act.reason)]


def release(standing: Standing, act: PauseReleased, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's release changes: nothing where the pause is over already."""
    pause = standing.pauses.get(act.pause_id)
    if pause is None or not is_in_force(pause, moment.now):
        return standing, [_audit(moment, act.actor, "resume_without_effect", act.pause_id, act.reason)]
    released = msgspec.structs.replace(pause, released_at=moment.now, released_by=act.actor, release_reason=act.reason)
    return apply(standing, released), [released, _audit(moment, act.actor, "resume", pause.id, act.reason)]


def resolve(standing: Standing, act: FlagResolved, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's closing of a flag changes: nothing where it is closed already."""
    flag = standing.flags.get(act.flag_id)
    if flag is None or flag.resolved_at is not None:
        return standing, [_audit(moment, act.actor, "resolve_without_effect", act.flag_id, act.reason)]
    resolved = msgspec.structs.replace(flag, resolved_at=moment.now, resolved_by=act.actor, resolve_reason=act.reason)
    return apply(standing, resolved), [resolved, _audit(moment, act.actor, "resolve", flag.id, act.reason)]


def claim(resends: Mapping[str, Resend], act: ResendsClaimed, moment: Moment) -> list[Change]:
    """Return the resends that a worker takes: of those it asked for, the ones that nobody else holds."""
    taken: list[Change] = [
        msgspec.structs.replace(
            resend,
            state="claimed",
            claimed_by=act.actor,
            claim=str(moment.position),
            lease_until=act.lease_until,
            not_before=act.lease_until,
        )
        for resend in map(resends.get, act.resend_ids)
        if resend is not None and resend.state in {"pending", "claimed"} and resend.not_before <= moment.now
    ]
    return taken


def settle(resends: Mapping[str, Resend], act: ResendSettled, moment: Moment) -> list[Change]:
    """Return what a worker's word about a resend changes: nothing where it has been settled before."""
    resend = resends.get(act.resend_id)
    if resend is None or resend.state not in {"pending", "claimed"}:
        return []
    if act.outcome == "released":
        freed = msgspec.structs.replace(
            resend, state="pending", claimed_by="", claim="", lease_until=None, not_before=moment.now
        )
        return [freed, _audit(moment, act.actor, "resend_released", resend.id, act.reason)]
    settled = msgspec.structs.replace(resend, state=act.outcome, settled_at=moment.now)
    return [settled, _audit(moment, act.actor, f"resend_{act.outcome}", resend.id, act.reason)]


def adopt(act: RulesLoaded, moment: Moment) -> list[Change]:
    """Return the note that other rules are in force from here on."""
    return [_audit(moment, act.actor, "rules_loaded", act.rules_hash, "")]


def _pause(standing: Standing, action: PauseAction, moment: Moment) -> list[Change]:
    newest = action.evidence[-1]
    until = None if action.seconds is None else moment.now + action.seconds
    for pause in standing.pauses.values():
        is_same = (pause.rule, pause.scope, pause.scope_id, pause.lane) == (
            action.rule, action.scope, action.scope_id, action.lane,
        )  # fmt: skip
        if is_same and is_in_force(pause, moment.now):
            return [
                msgspec.structs.replace(
                    pause,
                    until=None if until is None or pause.until is None else max(until, pause.until),
                    evidence=(*pause.evidence, newest)[-EVIDENCE_KEPT:],
                    evidence_count=pause.evidence_count + 1,
                )
            ]
    pause = Pause(
        id=moment.id("p"),
        scope=action.scope,
        scope_id=action.scope_id,
        lane=action.lane,
        rule=action.rule,
        code=newest.code,
        reason=action.summary,
        actor=f"rule:{action.rule}",
        since=moment.now,
        until=until,
        asked_scope=action.asked_scope,
        evidence=action.evidence,
        evidence_count=len(action.evidence),
        rules_hash=moment.rules_hash,
    )
    return [pause, _audit(moment, pause.actor, "pause", pause.id, pause.reason)]


def _flag(standing: Standing, action: FlagAction, moment: Moment) -> list[Change]:
    group = dict(action.group)
    for flag in standing.flags.values():
        if flag.rule == action.rule and flag.group == group and flag.resolved_at is None:
            return [
                msgspec.structs.replace(
                    flag,
                    sources=action.sources,
                    last_at=moment.now,
                    evidence=action.evidence,
                    evidence_count=flag.evidence_count + 1,
                )
            ]
    flag = Flag(
        id=moment.id("f"),
        rule=action.rule,
        summary=action.summary,
        group=group,
        sources=action.sources,
        opened_at=moment.now,
        last_at=moment.now,
        evidence=action.evidence,
        evidence_count=len(action.evidence),
        rules_hash=moment.rules_hash,
    )
    return [flag, _audit(moment, f"rule:{action.rule}", "flag", flag.id, action.summary)]


def _resend(action: ResendAction, moment: Moment, message: Message | None) -> list[Change]:
    """Return the resend of the message that a status is about, unless that has arrived (Meta: delivered wins)."""
    newest = action.evidence[-1]
    if newest.kind != "status" or (message is not None and RANKS.get(message.state, 0) > RANKS["failed"]):
        return []
    resend = Resend(
        id=moment.id("r"),
        wamid=newest.wamid,
        waba_id=newest.waba_id,
        phone_number_id=newest.phone_number_id,
        recipient=newest.recipient,
        category=newest.category or (message.category if message else ""),
        code=newest.code,
        rule=action.rule,
        callback_data=message.callback_data if message else newest.source,
        created_at=moment.now,
        not_before=moment.now + action.after_seconds,
    )
    return [resend, _audit(moment, f"rule:{action.rule}", "resend", resend.id, action.rule)]


def _alert(standing: Standing, action: AlertAction, moment: Moment, pause_ids: tuple[str, ...], flag_id: str) -> Alert:
    newest = action.evidence[-1]
    labels = {
        "alertname": action.rule,
        "severity": action.severity,
        **{f"{name}_id" if name in {"waba", "phone_number"} else name: value for name, value in action.group if value},
    }
    for alert in standing.alerts.values():
        if alert.labels == labels and alert_ended_at(alert, standing.pauses, moment.now) is None:
            return msgspec.structs.replace(
                alert,
                last_at=moment.now,
                evidence_count=alert.evidence_count + 1,
                pause_ids=_union(alert.pause_ids, pause_ids),
                flag_id=flag_id or alert.flag_id,
            )
    return Alert(
        id=moment.id("a"),
        rule=action.rule,
        severity=action.severity,
        summary=action.summary,
        labels=labels,
        since=moment.now,
        last_at=moment.now,
        evidence_count=len(action.evidence),
        quiet_seconds=action.quiet_seconds,
        code=newest.code,
        pause_ids=pause_ids,
        flag_id=flag_id,
    )


def _union(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *others)))


def _audit(moment: Moment, actor: str, action: str, target: str, reason: str) -> AuditEntry:
    return AuditEntry(moment.now, actor, action, target, reason, moment.position)
