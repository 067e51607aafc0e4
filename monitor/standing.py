"""What stands (pauses, flags, alerts, incidents) and how decided actions and operators' acts change it.

Every function takes the standing as it is and returns changes; `apply` folds a change in. Nothing here knows a clock:
`now` is the journal's time of receipt.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

import msgspec

from monitor import actions, aspects, incidents
from monitor.actions import (
    EVIDENCE_KEPT,
    Action,
    Alert,
    AlertAction,
    AnnotateAction,
    AuditEntry,
    Evidence,
    Flag,
    FlagAction,
    Incident,
    Moment,
    Pause,
    PauseAction,
    Resend,
    ResendAction,
    ResumeAction,
    WebhookAction,
    alert_ended_at,
    is_in_force,
)
from monitor.codes import Catalogue
from monitor.events import (
    FlagResolved,
    IncidentClosed,
    MetaEvent,
    PausePlaced,
    PauseReleased,
    PersonForgotten,
    RulesLoaded,
)
from monitor.firings import Firing
from monitor.incidents import META
from monitor.rules import SHADOW

OPERATOR = "operator"  # stands for the rule's name on a pause that a human placed
KEPT_SECONDS = 900.0  # how long what is over stays in memory: alerts go on being sent as resolved meanwhile
Change = Pause | Flag | Alert | Resend | Incident | Firing | AuditEntry
META_KINDS = frozenset({"status", "message", "error", "account", "send_failed"})
"""Kinds of event in which Meta itself speaks: only those may extend a pause."""


class Standing(msgspec.Struct, frozen=True):
    """Everything that stands or was just over, by id; resends stand in the store only."""

    pauses: dict[str, Pause] = {}
    flags: dict[str, Flag] = {}
    alerts: dict[str, Alert] = {}
    incidents: dict[str, Incident] = {}


def apply(standing: Standing, change: Change) -> Standing:
    """Return the standing with the change in it."""
    match change:
        case Pause():
            return msgspec.structs.replace(standing, pauses={**standing.pauses, change.id: change})
        case Flag():
            return msgspec.structs.replace(standing, flags={**standing.flags, change.id: change})
        case Alert():
            return msgspec.structs.replace(standing, alerts={**standing.alerts, change.id: change})
        case Incident():
            return msgspec.structs.replace(standing, incidents={**standing.incidents, change.id: change})
        case Resend() | Firing() | AuditEntry():
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
    lasting = {
        incident.id: incident
        for incident in standing.incidents.values()
        if (ended_at := incidents.ended_at(incident, standing.pauses, now)) is None or ended_at > since
    }
    needed = {pause_id for alert in alerts.values() for pause_id in alert.pause_ids}
    pauses = {pause.id: pause for pause in standing.pauses.values() if is_in_force(pause, since) or pause.id in needed}
    flags = {flag.id: flag for flag in standing.flags.values() if flag.resolved_at is None or flag.resolved_at > since}
    return Standing(pauses, flags, alerts, lasting)


def decide(standing: Standing, decided: Sequence[Action], moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what the actions of one event change; resends are decided apart (resends.py)."""
    changes: list[Change] = []
    for number, action in enumerate(decided):
        here = msgspec.structs.replace(moment, serial=moment.serial + number)
        match action:
            case PauseAction():
                made = _pause(standing, action, here)
            case FlagAction():
                made = _flag(standing, action, here)
            case ResumeAction():
                made = _resume(standing, action, here)
            case AnnotateAction():
                made = [_audit(here, f"rule:{action.rule}", "annotation", action.rule, action.text)]
            case ResendAction() | WebhookAction():
                continue
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


def hear(standing: Standing, catalogue: Catalogue, event: MetaEvent, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what the event changes as a witness of an account's restriction, or as the word of its end."""
    if incidents.concerns(catalogue, event):
        heard = incidents.hear(standing.incidents, standing.pauses, catalogue, event, moment)
    else:
        heard = incidents.lifted(standing.incidents, standing.pauses, event, moment)
    if heard is None:
        return standing, []
    changes: list[Change] = [heard]
    if heard.id not in standing.incidents:
        changes.append(_audit(moment, META, "incident", heard.id, aspects.origin(event)))
    elif heard.closed_at is not None:
        changes.append(_audit(moment, META, "incident_closed", heard.id, heard.close_reason))
    if heard.until is not None:
        changes.extend(_until(pause, heard) for pause in _paused_by(standing, heard, moment.now))
    for change in changes:
        standing = apply(standing, change)
    return standing, changes


def end(standing: Standing, firing: Firing, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what the end of a firing changes: pauses that last until then, and its alerts."""
    changes: list[Change] = []
    for pause in standing.pauses.values():
        if pause.firing_id == firing.id and pause.until_cleared and is_in_force(pause, moment.now):
            changes.append(_released(pause, f"rule:{firing.rule}", firing.reason, moment.now))
            changes.append(_audit(moment, f"rule:{firing.rule}", "resume", pause.id, firing.reason))
    changes.extend(
        msgspec.structs.replace(alert, ended_at=moment.now)
        for alert in standing.alerts.values()
        if alert.firing_id == firing.id and alert.quiet_seconds is None and alert.ended_at is None
    )
    for change in changes:
        standing = apply(standing, change)
    return standing, changes


def remind(standing: Standing, firing: Firing, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return the alerts of a firing as they are told again: the same, with the next number."""
    changes: list[Change] = [
        msgspec.structs.replace(alert, sequence=alert.sequence + 1)
        for alert in standing.alerts.values()
        if alert.firing_id == firing.id and alert_ended_at(alert, standing.pauses, moment.now) is None
    ]
    for change in changes:
        standing = apply(standing, change)
    return standing, changes


def turned(firing: Firing, name: str, moment: Moment) -> AuditEntry:
    """Return the note of a firing's transition."""
    mark = f"{firing.mode}_" if firing.mode == SHADOW else ""
    return _audit(moment, f"rule:{firing.rule}", f"{mark}{name}", firing.id, firing.reason)


def close(standing: Standing, act: IncidentClosed, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's closing of an incident changes: nothing where it is over."""
    incident = standing.incidents.get(act.incident_id)
    if incident is None or incidents.ended_at(incident, standing.pauses, moment.now) is not None:
        return standing, [_audit(moment, act.actor, "close_without_effect", act.incident_id, act.reason)]
    closed = incidents.closed(incident, act.actor, act.reason, moment.now)
    return apply(standing, closed), [closed, _audit(moment, act.actor, "incident_closed", incident.id, act.reason)]


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
    released = _released(pause, act.actor, act.reason, moment.now)
    standing = apply(standing, released)
    changes: list[Change] = [released, _audit(moment, act.actor, "resume", pause.id, act.reason)]
    incident = standing.incidents.get(pause.incident_id)
    if incident is not None and incident.closed_at is None and not _paused_by(standing, incident, moment.now):
        closed = incidents.closed(incident, act.actor, act.reason, moment.now)
        standing = apply(standing, closed)
        changes.append(closed)
    return standing, changes


def resolve(standing: Standing, act: FlagResolved, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's closing of a flag changes: nothing where it is closed already."""
    flag = standing.flags.get(act.flag_id)
    if flag is None or flag.resolved_at is not None:
        return standing, [_audit(moment, act.actor, "resolve_without_effect", act.flag_id, act.reason)]
    resolved = msgspec.structs.replace(flag, resolved_at=moment.now, resolved_by=act.actor, resolve_reason=act.reason)
    return apply(standing, resolved), [resolved, _audit(moment, act.actor, "resolve", flag.id, act.reason)]


def adopt(act: RulesLoaded, moment: Moment) -> list[Change]:
    """Return the note that other rules are in force from here on."""
    return [_audit(moment, act.actor, "rules_loaded", act.rules_hash, "")]


def forget_people(standing: Standing, act: PersonForgotten, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what stands without the people: what they did stays as evidence, who they were does not.

    A pause of a recipient stays: it protects that person from messages.
    """
    gone = frozenset(act.people)
    changes: list[Change] = []
    kinds: tuple[Mapping[str, Pause | Flag | Alert], ...] = (standing.pauses, standing.flags, standing.alerts)
    for kind in kinds:
        changes.extend(after for before in kind.values() if (after := nameless(before, gone)) != before)
    for change in changes:
        standing = apply(standing, change)
    return standing, [*changes, _audit(moment, act.actor, "forget", "a person", act.reason)]


def nameless(record: Pause | Flag | Alert | Firing, gone: frozenset[str]) -> Pause | Flag | Alert | Firing:
    """Return a record without people, given by their hashes; a pause of a recipient goes on protecting that person."""
    match record:
        case Pause():
            return msgspec.structs.replace(record, evidence=_nameless(record.evidence, gone))
        case Flag():
            sources = {
                name: {value: count for value, count in values.items() if value not in gone}
                for name, values in record.sources.items()
            }
            group = {name: "" if value in gone else value for name, value in record.group.items()}
            evidence = _nameless(record.evidence, gone)
            return msgspec.structs.replace(record, sources=sources, group=group, evidence=evidence)
        case Alert():
            labels = {name: value for name, value in record.labels.items() if value not in gone}
            return msgspec.structs.replace(record, labels=labels)
        case Firing():
            parts = tuple("" if value in gone else value for value in record.group)
            return msgspec.structs.replace(record, group=parts, evidence=_nameless(record.evidence, gone))


def _nameless(evidence: tuple[Evidence, ...], gone: frozenset[str]) -> tuple[Evidence, ...]:
    return tuple(
        msgspec.structs.replace(one, recipient="", wamid="", source="") if one.recipient in gone else one
        for one in evidence
    )


def _pause(standing: Standing, action: PauseAction, moment: Moment) -> list[Change]:
    newest = action.evidence[-1]
    until = None if action.seconds is None else moment.now + action.seconds
    incident = _incident(standing, newest, moment.now) if action.per_second is None else None
    if incident is not None and incident.until is not None:
        until = incident.until  # Meta's own end wins
    for pause in standing.pauses.values():
        if _is_same(pause, action) and is_in_force(pause, moment.now):
            return [_renewed(pause, action, incident, until)]
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
        incident_id=incident.id if incident else "",
        waba_id=action.waba_id,
        firing_id=action.firing_id,
        until_cleared=action.until_cleared,
        per_second=action.per_second,
        steps=action.steps,
        step_seconds=action.step_seconds,
    )
    return [pause, _audit(moment, pause.actor, actions.name(action), pause.id, pause.reason)]


def _is_same(pause: Pause, action: PauseAction) -> bool:
    return (pause.rule, pause.scope, pause.scope_id, pause.lane, pause.waba_id, pause.per_second) == (
        action.rule, action.scope, action.scope_id, action.lane, action.waba_id, action.per_second,
    )  # fmt: skip


def _renewed(pause: Pause, action: PauseAction, incident: Incident | None, until: float | None) -> Pause:
    """Return a pause with new evidence; only Meta's word extends it, so that nothing of ours can for ever."""
    newest = action.evidence[-1]
    if incident is None or incident.until is None:
        until = _later(pause.until, until) if newest.kind in META_KINDS else pause.until
    return msgspec.structs.replace(
        pause,
        until=until,
        incident_id=pause.incident_id or (incident.id if incident else ""),
        evidence=(*pause.evidence, newest)[-EVIDENCE_KEPT:],
        evidence_count=pause.evidence_count + 1,
        firing_id=action.firing_id,
    )


def _resume(standing: Standing, action: ResumeAction, moment: Moment) -> list[Change]:
    """Release what rules have paused, never what a human has."""
    changes: list[Change] = []
    for pause in standing.pauses.values():
        is_meant = pause.rule in action.rules if action.rules else pause.rule != OPERATOR
        is_here = action.scope == "all" or (pause.scope, pause.scope_id) == (action.scope, action.scope_id)
        if is_meant and is_here and pause.rule != OPERATOR and is_in_force(pause, moment.now):
            changes.append(_released(pause, f"rule:{action.rule}", action.summary, moment.now))
            changes.append(_audit(moment, f"rule:{action.rule}", "resume", pause.id, action.summary))
    return changes


def _released(pause: Pause, by: str, reason: str, now: float) -> Pause:
    return msgspec.structs.replace(pause, released_at=now, released_by=by, release_reason=reason)


def _later(some: float | None, other: float | None) -> float | None:
    return None if some is None or other is None else max(some, other)


def _incident(standing: Standing, newest: Evidence, now: float) -> Incident | None:
    """Return the incident that this very event bore witness to."""
    known = incidents.current(standing.incidents, standing.pauses, newest.waba_id, newest.phone_number_id, now)
    return known if known is not None and known.last_at == newest.received_at else None


def _paused_by(standing: Standing, incident: Incident, now: float) -> list[Pause]:
    return [pause for pause in standing.pauses.values() if pause.incident_id == incident.id and is_in_force(pause, now)]


def _until(pause: Pause, incident: Incident) -> Pause:
    return msgspec.structs.replace(pause, until=incident.until)


def _flag(standing: Standing, action: FlagAction, moment: Moment) -> list[Change]:
    group = dict(action.group)
    for flag in standing.flags.values():
        if flag.rule == action.rule and flag.group == group and flag.resolved_at is None:
            return [
                msgspec.structs.replace(
                    flag,
                    sources=flag.sources if action.sources is None else action.sources,
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
        sources=action.sources or {},
        opened_at=moment.now,
        last_at=moment.now,
        evidence=action.evidence,
        evidence_count=len(action.evidence),
        rules_hash=moment.rules_hash,
    )
    return [flag, _audit(moment, f"rule:{action.rule}", "flag", flag.id, action.summary)]


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
                firing_id=action.firing_id,
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
        firing_id=action.firing_id,
        runbook=action.runbook,
    )


def _union(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *others)))


def _audit(moment: Moment, actor: str, action: str, target: str, reason: str) -> AuditEntry:
    return AuditEntry(moment.now, actor, action, target, reason, moment.position)
