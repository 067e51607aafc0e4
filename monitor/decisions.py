"""What rules, their ends and Meta's witnesses change of what stands.

Every function takes the standing as it is and returns it anew with the changes. `now` is the journal's time of receipt.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from monitor import actions, aspects, firings, incidents, probes
from monitor.actions import (
    DRILL_ACCOUNT,
    EVIDENCE_KEPT,
    GROUPED,
    META,
    OPERATOR,
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
    ResendAction,
    ResumeAction,
    WebhookAction,
    alert_ended_at,
    is_in_force,
    is_reinstated,
)
from monitor.codes import Catalogue
from monitor.events import MetaEvent
from monitor.firings import ORPHANING, Firing
from monitor.operators import audit, paused_by, released
from monitor.rules import SHADOW
from monitor.standing import Change, Standing, about, alerts_of, apply, in_order, pauses_of

SOURCES = ("caller", "source", "campaign", "template")  # of those that are as frequent the first
FIRINGS_KEPT = 100  # of one pause, the newest
PAUSES_KEPT = 100  # of one alert, the newest
QUIET_SECONDS = 60.0  # a growing pause starts small again after at least so long without a further signal
STRIKES_MOST = 30
META_KINDS = frozenset({"status", "message", "error", "account", "send_failed"})
"""Kinds of event in which Meta itself speaks: only those may extend a pause."""


def decide(standing: Standing, decided: Sequence[Action], moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what the actions of one event change; resends are decided apart (resends.py)."""
    changes: list[Change] = []
    judged: set[str] = set()
    for number, action in enumerate(decided):
        here = msgspec.structs.replace(moment, serial=moment.serial + number)
        match action:
            case PauseAction():
                made = _pause(standing, action, here)
                judged.update(one.rule for one in made if isinstance(one, Pause) and is_reinstated(one, here.now))
            case FlagAction():
                made = _flag(standing, action, here)
            case ResumeAction():
                made = _resume(standing, action, here)
            case AnnotateAction():
                made = [audit(here, f"rule:{action.rule}", "annotation", action.rule, action.text)]
            case ResendAction() | WebhookAction():
                continue
            case AlertAction() if action.rule in judged:
                continue  # an operator knows of it and lets messages pass
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
    before = standing.incidents.get(heard.id)
    if before is None:
        changes.append(audit(moment, META, "incident", heard.id, aspects.origin(event)))
    elif heard.closed_at is not None:
        changes.append(audit(moment, META, "incident_closed", heard.id, heard.close_reason))
    paused = [pause for pause in paused_by(standing, heard, moment.now) if pause.rule != META]
    if heard.until is not None:
        changes.extend(_until(pause, heard) for pause in paused)
    elif before is not None and before.until is not None and heard.closed_at is None:  # what had an end has none now
        endless = [pause for pause in paused if pause.until == before.until]
        changes.extend(msgspec.structs.replace(pause, until=None) for pause in endless)
    for change in changes:
        standing = apply(standing, change)
    return standing, changes


def end(standing: Standing, firing: Firing, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return what the end of a firing changes: pauses that last until then, and its alerts."""
    changes: list[Change] = []
    for pause in pauses_of(standing, firing):
        if not (pause.until_cleared and is_in_force(pause, moment.now)):
            continue
        others = tuple(other for other in pause.firing_ids if other != firing.id)
        if others:
            changes.append(msgspec.structs.replace(pause, firing_ids=others))
        elif firing.reason in ORPHANING:  # nothing is left to say when it is clear: that is a human's now
            changes.append(msgspec.structs.replace(pause, until_cleared=False))
        else:
            changes.append(released(pause, f"rule:{firing.rule}", firing.reason, moment.now))
            changes.append(audit(moment, f"rule:{firing.rule}", "resume", pause.id, firing.reason))
    changes.extend(
        msgspec.structs.replace(alert, ended_at=moment.now)
        for alert in alerts_of(standing, firing)
        if alert.quiet_seconds is None and alert.ended_at is None
    )
    for change in changes:
        standing = apply(standing, change)
    return standing, changes


def remind(standing: Standing, firing: Firing, moment: Moment) -> tuple[Standing, list[Change]]:
    """Return the alerts of a firing as they are told again: the same, with the next number."""
    changes: list[Change] = [
        msgspec.structs.replace(alert, sequence=alert.sequence + 1)
        for alert in alerts_of(standing, firing)
        if alert_ended_at(alert, standing.pauses, moment.now) is None
    ]
    for change in changes:
        standing = apply(standing, change)
    return standing, changes


def turned(firing: Firing, name: str, moment: Moment) -> AuditEntry:
    """Return the note of a firing's transition."""
    mark = f"{firing.mode}_" if firing.mode == SHADOW else ""
    return audit(moment, f"rule:{firing.rule}", f"{mark}{name}", firing.id, firing.reason)


def _pause(standing: Standing, action: PauseAction, moment: Moment) -> list[Change]:
    newest = action.evidence[-1]
    incident = _incident(standing, newest, moment.now) if action.per_second is None else None
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
        until=None,
        asked_scope=action.asked_scope,
        evidence=action.evidence,
        evidence_count=len(action.evidence),
        rules_hash=moment.rules_hash,
        incident_id=incident.id if incident else "",
        waba_id=action.waba_id,
        firing_ids=(action.firing_id,),
        until_cleared=action.until_cleared,
        per_second=action.per_second,
        steps=action.steps,
        step_seconds=action.step_seconds,
    )
    known = standing.pauses.get(standing.same.get(about(pause), ""))
    if known is not None and is_reinstated(known, moment.now):
        return [_evident(known, action, incident)]
    if known is not None and is_in_force(known, moment.now):
        return [_renewed(_evident(known, action, incident), action, incident, moment.now)]
    return [
        _lasting(pause, action, incident, _strikes(known, action, moment.now), moment.now),
        audit(moment, pause.actor, actions.name(action), pause.id, pause.reason),
    ]


def _lasting(pause: Pause, action: PauseAction, incident: Incident | None, strikes: int, now: float) -> Pause:
    """Return a pause with its end as from now: Meta's own wins, else it is the longer the more often it was too short.

    A probe follows upon it.
    """
    if incident is not None and incident.until is not None:
        return msgspec.structs.replace(pause, until=incident.until, probe=None, strikes=strikes)
    if action.seconds is None:
        return msgspec.structs.replace(pause, until=None, probe=None, strikes=strikes)
    seconds = action.seconds * action.factor**strikes
    until = now + (min(seconds, action.most_seconds) if action.most_seconds else seconds)
    if action.probe is None:
        return msgspec.structs.replace(pause, until=until, strikes=strikes)
    probe = msgspec.structs.replace(action.probe, from_at=until)
    return msgspec.structs.replace(pause, until=probes.ends_at(probe), probe=probe, strikes=strikes)


def _strikes(known: Pause | None, action: PauseAction, now: float) -> int:
    """Return how often in a row a growing pause was too short: none once it has been quiet for long enough."""
    if known is None or action.factor == 1.0 or known.until is None or known.released_at is not None:
        return 0
    quiet_seconds = max(QUIET_SECONDS, action.factor * (known.until - known.since))
    return min(known.strikes + 1, STRIKES_MOST) if now < known.until + quiet_seconds else 0


def _renewed(pause: Pause, action: PauseAction, incident: Incident | None, now: float) -> Pause:
    """Return a pause in force after new evidence; only Meta's word extends it, so that nothing of ours can for ever.

    What is half open or ramping is closed again by a signal from after its opening, and only by such a one. A growing
    pause is not extended by what was under way when it began.
    """
    newest = action.evidence[-1]
    is_meta = newest.kind in META_KINDS
    if pause.probe is not None and now >= pause.probe.from_at:
        is_signal = is_meta and newest.at >= math.floor(pause.probe.from_at)  # Meta writes whole seconds
        strikes = min(pause.strikes + 1, STRIKES_MOST) if action.factor != 1.0 else 0
        return _lasting(pause, action, incident, strikes, now) if is_signal else pause
    if incident is not None and incident.until is not None:
        return _lasting(pause, action, incident, pause.strikes, now)
    if not is_meta or action.factor != 1.0:
        return pause
    later = _lasting(pause, action, incident, pause.strikes, now)
    return later if _later(pause.until, later.until) == later.until else pause


def _evident(pause: Pause, action: PauseAction, incident: Incident | None) -> Pause:
    return msgspec.structs.replace(
        pause,
        incident_id=pause.incident_id or (incident.id if incident else ""),
        evidence=(*pause.evidence, action.evidence[-1])[-EVIDENCE_KEPT:],
        evidence_count=pause.evidence_count + 1,
        firing_ids=_union(pause.firing_ids[-FIRINGS_KEPT:], (action.firing_id,)),
    )


def _resume(standing: Standing, action: ResumeAction, moment: Moment) -> list[Change]:
    """Release what rules have paused, never what a human has."""
    changes: list[Change] = []

    def is_meant(pause: Pause) -> bool:
        is_named = not action.rules or pause.rule in action.rules
        is_here = action.scope == "all" or (pause.scope, pause.scope_id) == (action.scope, action.scope_id)
        return is_named and is_here and pause.rule != OPERATOR and is_in_force(pause, moment.now)

    for pause in in_order(standing.pauses, is_meant):
        changes.append(released(pause, f"rule:{action.rule}", action.summary, moment.now))
        changes.append(audit(moment, f"rule:{action.rule}", "resume", pause.id, action.summary))
    return changes


def _later(some: float | None, other: float | None) -> float | None:
    return None if some is None or other is None else max(some, other)


def _incident(standing: Standing, newest: Evidence, now: float) -> Incident | None:
    """Return the incident that this very event bore witness to."""
    known = incidents.current(standing.incidents, standing.pauses, newest.waba_id, newest.phone_number_id, now)
    return known if known is not None and known.last_at == newest.received_at else None


def _until(pause: Pause, incident: Incident) -> Pause:
    return msgspec.structs.replace(pause, until=incident.until, probe=None)


def _flag(standing: Standing, action: FlagAction, moment: Moment) -> list[Change]:
    flag = Flag(
        id=moment.id("f"),
        rule=action.rule,
        summary=action.summary,
        group=dict(action.group),
        sources=action.sources or {},
        opened_at=moment.now,
        last_at=moment.now,
        evidence=action.evidence,
        evidence_count=len(action.evidence),
        rules_hash=moment.rules_hash,
    )
    known = standing.flags.get(standing.same.get(about(flag), ""))
    if known is not None and known.resolved_at is None:
        sources = known.sources if action.sources is None else action.sources
        more = known.evidence_count + 1
        return [
            msgspec.structs.replace(
                known, sources=sources, last_at=moment.now, evidence=action.evidence, evidence_count=more
            )
        ]
    return [flag, audit(moment, f"rule:{action.rule}", "flag", flag.id, action.summary)]


def _alert(standing: Standing, action: AlertAction, moment: Moment, pause_ids: tuple[str, ...], flag_id: str) -> Alert:
    newest = action.evidence[-1]
    labels = {
        "alertname": action.rule,
        "severity": action.severity,
        **{f"{name}_id" if name in {"waba", "phone_number"} else name: value for name, value in action.group if value},
    }
    if DRILL_ACCOUNT in labels.values():
        labels["drill"] = "true"  # so that a route can keep it from waking anybody
    alert = Alert(
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
        rules_hash=moment.rules_hash,
        source=_source(action.evidence),
        wamid=newest.wamid,
    )
    known = _lasting_alert(standing, alert, moment.now)
    if known is None and standing.alerted.get(action.rule, 0) >= action.most:
        alert = _grouped(alert)
        known = _lasting_alert(standing, alert, moment.now)
    if known is None:
        return alert
    if GROUPED in known.labels:
        pause_ids = ()
    return msgspec.structs.replace(
        known,
        last_at=moment.now,
        evidence_count=known.evidence_count + 1,
        pause_ids=_union(known.pause_ids, pause_ids)[-PAUSES_KEPT:],
        flag_id=flag_id or known.flag_id,
        firing_id=action.firing_id,
        source=alert.source,
        wamid=alert.wamid or known.wamid,
    )


def _lasting_alert(standing: Standing, alert: Alert, now: float) -> Alert | None:
    """Return the alert about the same that has not ended."""
    known = standing.alerts.get(standing.same.get(about(alert), ""))
    return None if known is None or alert_ended_at(known, standing.pauses, now) is not None else known


def _grouped(alert: Alert) -> Alert:
    """Return the one alert of a rule that raises too many: about nobody in particular, until the rule is quiet."""
    kept = {name: value for name, value in alert.labels.items() if name in {"alertname", "severity", "drill"}}
    quiet_seconds = max(alert.quiet_seconds or 0.0, firings.QUIET_SECONDS)
    return msgspec.structs.replace(
        alert, labels={**kept, GROUPED: "true"}, quiet_seconds=quiet_seconds, pause_ids=(), flag_id="", firing_id=""
    )


def _source(found: Sequence[Evidence]) -> str:
    """Return what most of some evidence has in common, as `caller billing (7 of 8)`; empty where nothing."""
    counts = Counter((name, value) for one in found for name in SOURCES if (value := getattr(one, name)))
    if not counts:
        return ""
    (name, value), count = counts.most_common(1)[0]
    return f"{name} {value} ({count} of {len(found)})"


def _union(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *others)))
