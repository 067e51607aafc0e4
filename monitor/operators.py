"""What operators' acts change of what stands.

Every function takes the standing as it is and returns it anew with the changes. `now` is the journal's time of receipt.
"""

from collections.abc import Mapping

import msgspec

from monitor import incidents, probes
from monitor.actions import OPERATOR, Alert, AuditEntry, Evidence, Flag, Incident, Moment, Pause, is_in_force
from monitor.events import (
    DrillDone,
    EntriesLost,
    FlagResolved,
    IncidentClosed,
    PausePlaced,
    PauseReleased,
    PersonForgotten,
    RulesLoaded,
)
from monitor.firings import Firing
from monitor.probes import Probe
from monitor.standing import Change, Standing, apply, in_order

DRILL = "drill"


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
        aliases=act.aliases,
    )
    return apply(standing, pause), [pause, audit(moment, act.actor, "pause", pause.id, act.reason)]


def release(standing: Standing, act: PauseReleased, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's release changes: nothing where the pause is over already."""
    pause = standing.pauses.get(act.pause_id)
    if pause is None or not is_in_force(pause, moment.now):
        return standing, [audit(moment, act.actor, "resume_without_effect", act.pause_id, act.reason)]
    if act.probe is not None:
        return _probed(standing, pause, act.probe, act, moment)
    after = released(pause, act.actor, act.reason, moment.now)
    if act.reinstated_seconds is not None:
        after = msgspec.structs.replace(after, reinstated_until=moment.now + act.reinstated_seconds)
    standing = apply(standing, after)
    note = "resume" if act.reinstated_seconds is None else "reinstate"
    changes: list[Change] = [after, audit(moment, act.actor, note, pause.id, act.reason)]
    incident = standing.incidents.get(pause.incident_id)
    if incident is not None and incident.closed_at is None and not paused_by(standing, incident, moment.now):
        closed = incidents.closed(incident, act.actor, act.reason, moment.now)
        standing = apply(standing, closed)
        changes.append(closed)
    return standing, changes


def _probed(
    standing: Standing, pause: Pause, probe: Probe, act: PauseReleased, moment: Moment
) -> tuple[Standing, list[Change]]:
    """Let sending come back by trial: from now on a little, and nothing again on the next signal."""
    probe = msgspec.structs.replace(probe, from_at=moment.now)
    opened = msgspec.structs.replace(pause, probe=probe, until=probes.ends_at(probe), until_cleared=False)
    return apply(standing, opened), [opened, audit(moment, act.actor, "probe", pause.id, act.reason)]


def close(standing: Standing, act: IncidentClosed, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's closing of an incident changes: nothing where it is over."""
    incident = standing.incidents.get(act.incident_id)
    if incident is None or incidents.ended_at(incident, standing.pauses, moment.now) is not None:
        return standing, [audit(moment, act.actor, "close_without_effect", act.incident_id, act.reason)]
    closed = incidents.closed(incident, act.actor, act.reason, moment.now)
    return apply(standing, closed), [closed, audit(moment, act.actor, "incident_closed", incident.id, act.reason)]


def resolve(standing: Standing, act: FlagResolved, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what an operator's closing of a flag changes: nothing where it is closed already."""
    flag = standing.flags.get(act.flag_id)
    if flag is None or flag.resolved_at is not None:
        return standing, [audit(moment, act.actor, "resolve_without_effect", act.flag_id, act.reason)]
    resolved = msgspec.structs.replace(flag, resolved_at=moment.now, resolved_by=act.actor, resolve_reason=act.reason)
    return apply(standing, resolved), [resolved, audit(moment, act.actor, "resolve", flag.id, act.reason)]


def drilled(act: DrillDone, moment: Moment) -> AuditEntry:
    """Return the note of a drill: its result as JSON stands for the reason."""
    told = {"passed": act.is_passed, "seconds": act.seconds, "reason": act.reason}
    return audit(moment, act.actor, DRILL, str(act.code), msgspec.json.encode(told).decode())


def adopt(act: RulesLoaded, moment: Moment) -> list[Change]:
    """Return the note that other rules are in force from here on."""
    return [audit(moment, act.actor, "rules_loaded", act.rules_hash, "")]


def note_loss(act: EntriesLost, moment: Moment) -> list[Change]:
    """Return the note that entries are gone."""
    return [audit(moment, act.actor, "entries_lost", f"{act.first}-{act.last}", "they were durable, and are gone")]


def forget_people(standing: Standing, act: PersonForgotten, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what stands without the people: what they did stays as evidence, who they were does not.

    A pause of a recipient stays: it protects that person from messages.
    """
    gone = frozenset(act.people)
    changes: list[Change] = []
    kinds: tuple[Mapping[str, Pause | Flag | Alert], ...] = (standing.pauses, standing.flags, standing.alerts)
    for kind in kinds:
        changes.extend(after for before in in_order(kind) if (after := nameless(before, gone)) != before)
    for change in changes:
        standing = apply(standing, change)
    return standing, [*changes, audit(moment, act.actor, "forget", "a person", act.reason)]


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


def released(pause: Pause, by: str, reason: str, now: float) -> Pause:
    """Return a pause as released."""
    return msgspec.structs.replace(pause, released_at=now, released_by=by, release_reason=reason)


def paused_by(standing: Standing, incident: Incident, now: float) -> list[Pause]:
    """Return the pauses in force that an incident has brought about."""
    return [
        pause for pause in in_order(standing.pauses) if pause.incident_id == incident.id and is_in_force(pause, now)
    ]


def audit(moment: Moment, actor: str, action: str, target: str, reason: str) -> AuditEntry:
    """Return a note for the audit log."""
    return AuditEntry(moment.now, actor, action, target, reason, moment.position)


def _nameless(evidence: tuple[Evidence, ...], gone: frozenset[str]) -> tuple[Evidence, ...]:
    return tuple(
        msgspec.structs.replace(one, recipient="", wamid="", source="") if one.recipient in gone else one
        for one in evidence
    )
