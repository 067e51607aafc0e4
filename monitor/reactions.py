"""Reactions: what a rule does when it fires, as actions about one group and its evidence."""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from monitor import firings, gate
from monitor.actions import (
    SCOPES,
    Action,
    AlertAction,
    AnnotateAction,
    Evidence,
    FlagAction,
    PauseAction,
    ResendAction,
    ResumeAction,
    WebhookAction,
)
from monitor.firings import Firing, Turn
from monitor.grammar import FlagSpec, PauseSpec, ThrottleSpec
from monitor.probes import Probe
from monitor.rules import Rule
from monitor.sightings import Sighting, evidence

SOURCES_FROM = 1_000  # the newest sightings that the top sources are counted from
SOURCES_MOST = 5
_WIDE = frozenset({"all", "waba", "phone_number", "recipient", "pair"})


def of(rule: Rule, turn: Turn, matching: Sequence[Sighting]) -> list[Action]:
    """Return what a rule does at a turn of its firing; `matching` are the sightings that brought it about."""
    return list(_actions(rule, turn, matching))


def _actions(rule: Rule, turn: Turn, matching: Sequence[Sighting]) -> Iterator[Action]:
    firing = turn.firing
    found = firing.evidence
    newest = found[-1]
    group = tuple(zip(rule.by, firing.group, strict=True))
    about: tuple[tuple[str, str], ...] = ()
    for spec in rule.actions:
        stop = spec.pause or spec.throttle
        if stop is not None:
            pause = _stop(rule, stop, firing)
            about = about or ((pause.scope, pause.scope_id),)
            yield pause
        elif spec.resume is not None:
            scope, scope_id = _told_scope(spec.resume.scope, newest)
            yield ResumeAction(rule.name, rule.summary, scope, scope_id, tuple(spec.resume.rules), found)
        elif spec.flag is not None:
            sources = _sources(spec.flag, matching, found) if turn.is_sourced else None
            yield FlagAction(rule.name, rule.summary, group, sources, found)
        elif spec.resend is not None:
            yield ResendAction(rule.name, spec.resend.after, found)
        elif spec.annotate is not None and turn.name:
            yield AnnotateAction(rule.name, spec.annotate.text, found)
        elif spec.webhook is not None and turn.name:
            yield WebhookAction(rule.name, spec.webhook.to, firing.id)
    quiet_seconds = None if rule.clear is not None or rule.condition.lasts else firings.quiet_seconds(rule)
    for spec in rule.actions:
        if spec.alert is not None:
            told = about or group or _sender(newest)
            yield AlertAction(
                rule.name, rule.summary, spec.alert.severity, told, quiet_seconds, found, firing.id, rule.runbook,
                spec.alert.most,
            )  # fmt: skip


def ended(rule: Rule, firing: Firing) -> list[Action]:
    """Return what a rule does when its firing is over."""
    return [WebhookAction(rule.name, spec.webhook.to, firing.id) for spec in rule.actions if spec.webhook is not None]


def _stop(rule: Rule, spec: PauseSpec | ThrottleSpec, firing: Firing) -> PauseAction:
    newest = firing.evidence[-1]
    scope, scope_id = _told_scope(spec.scope, newest)
    pause = PauseAction(
        rule.name, rule.summary, scope, scope_id, spec.lane, spec.seconds, spec.scope, firing.evidence,
        waba_id="" if scope in _WIDE else newest.waba_id, firing_id=firing.id,
    )  # fmt: skip
    if isinstance(spec, PauseSpec):
        factor, most = (spec.backoff.factor, spec.backoff.most) if spec.backoff is not None else (1.0, 0.0)
        probe = Probe(0.0, spec.probe.rate, spec.probe.seconds, spec.probe.ramp) if spec.probe is not None else None
        is_cleared = spec.until == "cleared"
        return msgspec.structs.replace(pause, until_cleared=is_cleared, factor=factor, most_seconds=most, probe=probe)
    steps, step_seconds = (spec.restore.steps, spec.restore.every) if spec.restore is not None else (0, 0.0)
    seconds = spec.seconds + steps * step_seconds
    return msgspec.structs.replace(pause, seconds=seconds, per_second=spec.rate, steps=steps, step_seconds=step_seconds)


def _told_scope(asked: str, newest: Evidence) -> tuple[str, str]:
    """Return the asked scope or the next narrower one whose id the event tells, else the number or account around it.

    Where the event tells none of them it is everything.
    """
    ids = {
        "waba": newest.waba_id,
        "phone_number": newest.phone_number_id,
        "category": newest.category,
        "template": newest.template,
        "campaign": newest.campaign,
        "country": newest.country,
        "recipient": newest.recipient,
        "pair": gate.pair_of(newest.phone_number_id, newest.recipient),
    }
    if asked != "all":
        for scope in SCOPES[SCOPES.index(asked) :]:
            if ids.get(scope):
                return scope, ids[scope]
        for scope in ("phone_number", "waba"):
            if ids[scope] and SCOPES.index(scope) < SCOPES.index(asked):
                return scope, ids[scope]
    return "all", ""


def _sources(spec: FlagSpec, matching: Sequence[Sighting], found: Sequence[Evidence]) -> dict[str, dict[str, int]]:
    newest = [evidence(one) for one in matching[-SOURCES_FROM:]] or found
    sources: dict[str, dict[str, int]] = {}
    for name in spec.evidence:
        values = Counter(str(value) for entry in newest if (value := getattr(entry, name, None)) not in {None, ""})
        if values:
            sources[name] = dict(values.most_common(SOURCES_MOST))
    return sources


def _sender(newest: Evidence) -> tuple[tuple[str, str], ...]:
    pairs = (("waba_id", newest.waba_id), ("phone_number_id", newest.phone_number_id))
    return tuple((name, value) for name, value in pairs if value)
