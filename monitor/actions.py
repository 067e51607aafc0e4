"""What rules decide, and what then stands: pauses, flags, resends and alerts.

All times are unix seconds. A record that stands is never mutated: a change is a new record with the same id.
"""

from collections.abc import Mapping

import msgspec

from monitor.account import Restriction
from monitor.probes import Probe

SCOPES = ("all", "waba", "phone_number", "category", "template", "campaign", "country", "recipient", "pair")
"""From the widest to the most specific; a `pair` is one number and one person: `{phone_number_id}|{recipient}`."""
DRILL_ACCOUNT = "whatsapp-monitor-drill"
"""Account and number of synthetic blocks: nobody has it, so nobody's sending is stopped."""
OPERATOR, META = "operator", "meta"
"""Stand for the rule's name on a pause that a human placed, and on one that Meta's own word stands for."""
LANES = ("all", "business_initiated", "marketing")
SEVERITIES = ("critical", "warning", "info")
GROUPED = "grouped"  # the label of the one alert that stands for the many that a rule raises beyond its most
ALERTS_MOST = 20  # of one rule in a quarter of an hour, before they are told together
EVIDENCE_KEPT = 20  # the newest; the count goes on


class Moment(msgspec.Struct, frozen=True):
    """Where in the journal a decision is taken; `serial` tells the decisions of one entry apart."""

    position: int
    now: float
    rules_hash: str
    serial: int = 0

    def id(self, letter: str) -> str:
        """Return the id of a record that is made here."""
        return f"{letter}{self.position}-{self.serial}"


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """The event that a decision rests on; `position` is its delivery's place in the journal.

    `source` is the start of what the application gave as `biz_opaque_callback_data`: the nearest thing to the workflow
    that sent the message; `caller` who sent it through the proxy, and `trigger` why it looks like a repetition.
    """

    position: int
    kind: str
    at: float
    received_at: float
    origin: str = ""
    code: int | None = None
    title: str = ""
    waba_id: str = ""
    phone_number_id: str = ""
    wamid: str = ""
    recipient: str = ""
    category: str = ""
    source: str = ""
    template: str = ""
    campaign: str = ""
    restriction: str = ""
    country: str = ""
    caller: str = ""
    trigger: str = ""


class PauseAction(msgspec.Struct, frozen=True):
    """Stop outbound sending in a scope, or with `per_second` slow it down; `seconds` None means until someone resumes.

    `until_cleared` ends it with its firing. A rate doubles with each of `steps` of `step_seconds` once `seconds` are
    over, and after the last one sending is free. `waba_id` is the account within which a narrower scope counts.
    `seconds` grow by `factor` with each time that it was not enough, up to `most_seconds`; a `probe` follows them.
    """

    rule: str
    summary: str
    scope: str
    scope_id: str
    lane: str
    seconds: float | None
    asked_scope: str
    evidence: tuple[Evidence, ...]
    waba_id: str = ""
    firing_id: str = ""
    until_cleared: bool = False
    per_second: float | None = None
    steps: int = 0
    step_seconds: float = 0.0
    factor: float = 1.0
    most_seconds: float = 0.0
    probe: Probe | None = None


class ResumeAction(msgspec.Struct, frozen=True):
    """Release what rules have paused in a scope: all of them, or those that are named."""

    rule: str
    summary: str
    scope: str
    scope_id: str
    rules: tuple[str, ...]
    evidence: tuple[Evidence, ...]


class FlagAction(msgspec.Struct, frozen=True):
    """Put something before a human; `sources` are the top values of each evidence field, None for as they were."""

    rule: str
    summary: str
    group: tuple[tuple[str, str], ...]
    sources: dict[str, dict[str, int]] | None
    evidence: tuple[Evidence, ...]


class ResendAction(msgspec.Struct, frozen=True):
    """Put a message on the list of those to send again, not before `after_seconds` have passed."""

    rule: str
    after_seconds: float
    evidence: tuple[Evidence, ...]


class AlertAction(msgspec.Struct, frozen=True):
    """Tell the on-call person. The alert lasts as long as the pause of the same rule, else until it has been quiet.

    Where `quiet_seconds` is None, it lasts as long as its firing. Beyond `most` of them the rule's alerts are one.
    """

    rule: str
    summary: str
    severity: str
    group: tuple[tuple[str, str], ...]
    quiet_seconds: float | None
    evidence: tuple[Evidence, ...]
    firing_id: str = ""
    runbook: str = ""
    most: int = ALERTS_MOST


class AnnotateAction(msgspec.Struct, frozen=True):
    """Leave a note in the audit log."""

    rule: str
    text: str
    evidence: tuple[Evidence, ...]


class WebhookAction(msgspec.Struct, frozen=True):
    """Post the firing to one of the configured alert webhooks."""

    rule: str
    to: str
    firing_id: str


Action = (
    PauseAction | ResumeAction | FlagAction | ResendAction | AlertAction | AnnotateAction | WebhookAction
)  # fmt: skip
_NAMES = {
    ResumeAction: "resume", FlagAction: "flag", ResendAction: "resend", AlertAction: "alert",
    AnnotateAction: "annotate", WebhookAction: "webhook",
}  # fmt: skip
ACTION_NAMES = ("pause", "throttle", *_NAMES.values())


def name(action: Action) -> str:
    """Return the action's name as rules write it."""
    if isinstance(action, PauseAction):
        return "pause" if action.per_second is None else "throttle"
    return _NAMES[type(action)]


class Pause(msgspec.Struct, frozen=True):
    """A stop of outbound sending, or with `per_second` a slowdown: in force from `since` until `until` or its release.

    `waba_id` is the account within which a scope narrower than a number counts, empty for all; `until_cleared` says
    that it ends with the last of its firings. Of a template `language` is the one that is stopped, empty for all.
    Of a recipient or a pair `aliases` are the person's other hashes, by which it holds too.
    `strikes` counts how often it had not been long enough. Until `reinstated_until` the finding was judged by an
    operator: what brought the pause about again is noted, but stops nothing.
    """

    id: str
    scope: str
    scope_id: str
    lane: str
    rule: str
    code: int | None
    reason: str
    actor: str
    since: float
    until: float | None
    asked_scope: str
    evidence: tuple[Evidence, ...] = ()
    evidence_count: int = 0
    rules_hash: str = ""
    released_at: float | None = None
    released_by: str = ""
    release_reason: str = ""
    incident_id: str = ""
    waba_id: str = ""
    firing_ids: tuple[str, ...] = ()
    until_cleared: bool = False
    per_second: float | None = None
    steps: int = 0
    step_seconds: float = 0.0
    probe: Probe | None = None
    strikes: int = 0
    language: str = ""
    reinstated_until: float | None = None
    aliases: tuple[str, ...] = ()


def ids_of(pause: Pause) -> tuple[str, ...]:
    """Return the ids by which a pause's scope is met: one for each hash of the person that it is about."""
    number = pause.scope_id.partition("|")[0] + "|" if pause.scope == "pair" else ""
    return (pause.scope_id, *(f"{number}{alias}" for alias in pause.aliases))


class Flag(msgspec.Struct, frozen=True):
    """Something that a human should look at, open until one resolves it."""

    id: str
    rule: str
    summary: str
    group: dict[str, str]
    sources: dict[str, dict[str, int]]
    opened_at: float
    last_at: float
    evidence: tuple[Evidence, ...]
    evidence_count: int
    rules_hash: str = ""
    resolved_at: float | None = None
    resolved_by: str = ""
    resolve_reason: str = ""


class Resend(msgspec.Struct, frozen=True):
    """A message to send again: `pending`, `claimed` until `lease_until`, then `sent`, `dropped` or `superseded`.

    `withheld` ones are listed with the `reason` why they must not be sent. `chain_id` is the first message's wamid over
    all `attempt`s; `retry_wamid` is what the worker sent instead, `outcome` what became of that.
    """

    id: str
    wamid: str
    waba_id: str
    phone_number_id: str
    recipient: str
    category: str
    code: int | None
    rule: str
    callback_data: str
    created_at: float
    not_before: float
    state: str = "pending"
    claimed_by: str = ""
    lease_until: float | None = None
    claim: str = ""
    settled_at: float | None = None
    reason: str = ""
    template: str = ""
    chain_id: str = ""
    attempt: int = 1
    retry_wamid: str = ""
    outcome: str = ""
    rules_hash: str = ""


class Witness(msgspec.Struct, frozen=True):
    """How Meta told of an incident: `origin` send, webhook, status, message or account; when first and when last."""

    origin: str
    occurred_at: float
    received_at: float
    position: int
    count: int = 1
    last_occurred_at: float = 0.0  # 0 where it was told once, or by an older version


class Incident(msgspec.Struct, frozen=True):
    """Meta restricts an account: all that its witnesses say is one thing, in the order in which they spoke.

    It is over when it is closed, when Meta's own end has passed, or else when nothing was heard of it for a day and
    nothing that it paused is still paused.
    """

    id: str
    waba_id: str
    phone_number_id: str
    opened_at: float
    last_at: float
    witnesses: tuple[Witness, ...]
    codes: tuple[int, ...] = ()
    restrictions: tuple[Restriction, ...] = ()
    until: float | None = None
    closed_at: float | None = None
    closed_by: str = ""
    close_reason: str = ""


class Alert(msgspec.Struct, frozen=True):
    """What on-call hears: active while its pause is in force, else until `quiet_seconds` have passed in quiet.

    Where those are None its firing's end sets `ended_at`. `sequence` counts how often it was told again. `source` names
    what most of the newest evidence has in common, `wamid` the newest message in it.
    """

    id: str
    rule: str
    severity: str
    summary: str
    labels: dict[str, str]
    since: float
    last_at: float
    evidence_count: int
    quiet_seconds: float | None
    code: int | None = None
    pause_ids: tuple[str, ...] = ()
    flag_id: str = ""
    firing_id: str = ""
    runbook: str = ""
    ended_at: float | None = None
    sequence: int = 0
    rules_hash: str = ""
    source: str = ""
    wamid: str = ""


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what, when and why; `position` is the journal entry that it follows from."""

    at: float
    actor: str
    action: str
    target: str
    reason: str
    position: int


def is_in_force(pause: Pause, now: float) -> bool:
    """Say whether the pause still stops anything at `now`."""
    return pause.released_at is None and (pause.until is None or now < pause.until)


def was_in_force(pause: Pause, at: float) -> bool:
    """Say whether the pause stopped anything at a time that may be long past."""
    ends = (pause.released_at, pause.until)
    return pause.since <= at and all(end is None or at < end for end in ends)


def is_reinstated(pause: Pause, now: float) -> bool:
    """Say whether an operator has judged this finding, so that it does not stop anything again for now."""
    return pause.reinstated_until is not None and now < pause.reinstated_until


def alert_ended_at(alert: Alert, pauses: Mapping[str, Pause], now: float) -> float | None:
    """Return when the alert ended, or None while it is active; derived, never stored."""
    if not alert.pause_ids and alert.quiet_seconds is None:
        return alert.ended_at
    if not alert.pause_ids:
        quiet_at = alert.last_at + (alert.quiet_seconds or 0.0)
        return quiet_at if now >= quiet_at else None
    ends: list[float] = []
    for pause_id in alert.pause_ids:
        pause = pauses.get(pause_id)
        if pause is None:
            continue
        if is_in_force(pause, now):
            return None
        ends.append(min(end for end in (pause.released_at, pause.until) if end is not None))
    return max(ends, default=alert.last_at)
