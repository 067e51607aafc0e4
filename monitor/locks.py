"""Meta's own key: what Meta has said that it takes no messages of, as pauses that Meta's word places and lifts."""

from collections.abc import Iterator

import msgspec

from monitor import actions, aspects
from monitor.account import BANNED, AccountUpdate, TemplateStatus
from monitor.actions import META, Incident, Moment, Pause, is_in_force, is_reinstated
from monitor.events import AccountEvent, MetaEvent
from monitor.operators import audit, released
from monitor.standing import Change, Standing, about, apply, in_order

LANES = {
    "RESTRICTED_BIZ_INITIATED_MESSAGING": "business_initiated",
    "RESTRICTED_CUSTOMER_INITIATED_MESSAGING": "all",
}
"""Which lane a restriction stops; the others concern no message that goes through a gate."""
_STOPPED = frozenset({"PAUSED", "DISABLED", "REJECTED", "LOCKED", "DELETED", "PENDING_DELETION"})
_FREE = frozenset({"APPROVED", "REINSTATED", "UNLOCKED"})


def concerns(event: MetaEvent) -> bool:
    """Say whether the event can place or lift a lock."""
    return isinstance(event, AccountEvent) and isinstance(event.detail, AccountUpdate | TemplateStatus)


def hear(
    standing: Standing, event: AccountEvent, incident: Incident | None, moment: Moment
) -> tuple[Standing, list[Change]]:
    """Return what Meta's newest word on an account or a template changes of its locks."""
    changes: list[Change] = []
    incident_id = incident.id if incident is not None else ""
    for number, told in enumerate(_told(event, moment)):
        here = msgspec.structs.replace(moment, serial=moment.serial + number)
        pause = msgspec.structs.replace(told, id=here.id("p"), incident_id=incident_id)
        known = standing.pauses.get(standing.same.get(about(pause), ""))
        if known is not None and (is_in_force(known, moment.now) or is_reinstated(known, moment.now)):
            newest = max(pause, known, key=lambda one: _said_at(one.evidence))
            count = known.evidence_count + 1
            changes.append(
                msgspec.structs.replace(known, until=newest.until, evidence=newest.evidence, evidence_count=count)
            )
        else:
            changes += [pause, audit(here, META, "pause", pause.id, pause.reason)]
    for pause in in_order(standing.pauses):
        if pause.rule == META and is_in_force(pause, moment.now) and _is_lifted(pause, event):
            reason = event.event or event.field
            changes += [released(pause, META, reason, moment.now), audit(moment, META, "resume", pause.id, reason)]
    for change in changes:
        standing = apply(standing, change)
    return standing, changes


def _told(event: AccountEvent, moment: Moment) -> Iterator[Pause]:
    detail = event.detail
    if isinstance(detail, AccountUpdate):
        for one in detail.restrictions:
            lane = LANES.get(one.restriction, "")
            if lane and (one.until is None or one.until > moment.now):
                yield _lock(event, moment, "waba", event.waba_id, lane, one.restriction, one.until)
        if detail.ban_state == BANNED:
            yield _lock(event, moment, "waba", event.waba_id, "all", f"{event.event} {BANNED}", None)
    elif isinstance(detail, TemplateStatus) and detail.status in _STOPPED and detail.template.name:
        pause = _lock(event, moment, "template", detail.template.name, "all", f"template {detail.status}", None)
        yield msgspec.structs.replace(pause, waba_id=event.waba_id, language=detail.template.language)


def _lock(
    event: AccountEvent, moment: Moment, scope: str, scope_id: str, lane: str, reason: str, until: float | None
) -> Pause:
    return Pause(
        id="",
        scope=scope,
        scope_id=scope_id,
        lane=lane,
        rule=META,
        code=None,
        reason=reason,
        actor=META,
        since=moment.now,
        until=until,
        asked_scope=scope,
        evidence=(
            actions.Evidence(
                moment.position, "account", event.occurred_at, moment.now, aspects.origin(event),
                waba_id=event.waba_id, phone_number_id=event.phone_number_id, restriction=reason,
            ),
        ),
        evidence_count=1,
        rules_hash=moment.rules_hash,
    )  # fmt: skip


def _said_at(evidence: tuple[actions.Evidence, ...]) -> float:
    return max((one.at for one in evidence), default=0.0)


def _is_lifted(pause: Pause, event: AccountEvent) -> bool:
    """Say whether Meta takes its word back; not by one that is older and was long under way."""
    detail = event.detail
    if event.occurred_at < _said_at(pause.evidence):
        return False
    if isinstance(detail, AccountUpdate) and pause.scope == "waba":
        return detail.is_free and pause.scope_id == event.waba_id
    if isinstance(detail, TemplateStatus) and pause.scope == "template":
        here = (pause.scope_id, pause.waba_id, pause.language)
        return detail.status in _FREE and here == (detail.template.name, event.waba_id, detail.template.language)
    return False
