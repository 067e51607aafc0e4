"""Messages to send again: when, why, and why not; each is taken by one worker, and its retry is joined to the chain."""

from collections.abc import Mapping, Sequence

import msgspec

from monitor import aspects, codes, durations
from monitor.actions import AuditEntry, Moment, Resend, ResendAction
from monitor.codes import Catalogue, Resending
from monitor.events import MetaEvent, PresumedExpired, ResendsClaimed, ResendSettled, Status
from monitor.messages import PRESUMED_EXPIRED, Message, has_arrived

CATALOGUE = "catalogue"  # stands for the rule's name where the code's own advice is to try later
OPEN = frozenset({"pending", "claimed"})
STATES = ("pending", "claimed", "sent", "dropped", "superseded", "withheld")
ENDED = frozenset({"delivered", "read", "played", "failed", PRESUMED_EXPIRED})
_TIMES_MOST = 16
Change = Resend | AuditEntry


def wanted(
    catalogue: Catalogue, event: MetaEvent, actions: Sequence[ResendAction], *, by_catalogue: bool
) -> tuple[str, float, int, int | None] | None:
    """Return the rule, the seconds to wait, the most attempts and the code, where the event asks for a resend."""
    if not isinstance(event, Status | PresumedExpired):
        return None
    found = next(
        (
            code
            for error in aspects.errors(event)
            if (code := codes.find(catalogue, error.code)) is not None and code.retryable == "later"
        ),
        None,
    )
    advised = found.resend if found is not None else None
    if actions:
        rule = actions[0]
        most = advised.most if advised is not None else _TIMES_MOST
        return rule.rule, rule.after_seconds, most, rule.evidence[-1].code
    if not by_catalogue or found is None or advised is None:
        return None
    return CATALOGUE, durations.parse(advised.after), advised.most, found.code


def listed(
    event: Status | PresumedExpired,
    message: Message,
    asked: tuple[str, float, int, int | None],
    moment: Moment,
    *,
    is_stopped: bool,
    before: Resend | None,
) -> list[Change]:
    """Return the resend of a message that failed, withheld where it must not be sent; none where it has arrived.

    `before` is the resend whose retry this message was: each further attempt waits twice as long.
    """
    if has_arrived(message):
        return []
    rule, after_seconds, most, code = asked
    attempt = before.attempt + 1 if before is not None else 1
    wait = after_seconds * 2 ** min(attempt - 1, _TIMES_MOST)
    reason = _why_not(message, is_stopped=is_stopped) or ("tried_enough" if attempt > most else "")
    why = "presumed_expired" if isinstance(event, PresumedExpired) else f"code_{code}"
    resend = Resend(
        id=moment.id("r"),
        wamid=message.wamid,
        waba_id=message.waba_id,
        phone_number_id=message.phone_number_id,
        recipient=message.recipient,
        category=message.category,
        code=code,
        rule=rule,
        callback_data=message.callback_data,
        created_at=moment.now,
        not_before=moment.now + wait,
        state="withheld" if reason else "pending",
        reason=reason or why,
        template=message.template,
        chain_id=before.chain_id if before is not None else message.wamid,
        attempt=attempt,
        rules_hash=moment.rules_hash,
    )
    return [resend, _audit(moment, f"rule:{rule}", "resend_withheld" if reason else "resend", resend.id, resend.reason)]


def superseded(resend: Resend, reason: str, now: float) -> Resend:
    """Return a resend that is not needed any more: `arrived` after all, or a `later_success` reached the recipient."""
    return msgspec.structs.replace(resend, state="superseded", settled_at=now, reason=reason)


def is_superseded_by(resend: Resend, success: Message) -> bool:
    """Say whether a message that arrived makes a resend to the same person needless: a later one of the same kind.

    Category and template count where both are known: a parcel's notice does not replace an offer.
    """
    return (
        resend.state == "pending"
        and success.wamid != resend.wamid
        and success.phone_number_id == resend.phone_number_id
        and _agree(resend.category, success.category)
        and _agree(resend.template, success.template)
    )


def claim(
    resends: Mapping[str, Resend],
    messages: Mapping[str, Message],
    stopped: frozenset[str] | set[str],
    act: ResendsClaimed,
    moment: Moment,
) -> list[Change]:
    """Return the resends that a worker takes: of those it asked for, the ones that nobody else holds.

    What has become known since they were listed counts too: one that must not be sent is withheld instead.
    """
    changes: list[Change] = []
    for resend in map(resends.get, act.resend_ids):
        if resend is None or resend.state not in OPEN or resend.not_before > moment.now:
            continue
        message = messages.get(resend.wamid)
        reason = _why_not(message, is_stopped=message.recipient in stopped) if message is not None else ""
        if reason:
            changes.append(msgspec.structs.replace(resend, state="withheld", reason=reason))
            continue
        taken = msgspec.structs.replace(
            resend,
            state="claimed",
            claimed_by=act.actor,
            claim=str(moment.position),
            lease_until=act.lease_until,
            not_before=act.lease_until,
        )
        changes.append(taken)
    return changes


def settle(
    resends: Mapping[str, Resend], messages: Mapping[str, Message], act: ResendSettled, moment: Moment
) -> list[Change]:
    """Return what a worker's word about a resend changes: nothing where it has been settled before."""
    resend = resends.get(act.resend_id)
    if resend is None or resend.state not in OPEN:
        return []
    if act.outcome == "released":
        freed = msgspec.structs.replace(
            resend, state="pending", claimed_by="", claim="", lease_until=None, not_before=moment.now
        )
        return [freed, _audit(moment, act.actor, "resend_released", resend.id, act.reason)]
    settled = msgspec.structs.replace(resend, state=act.outcome, settled_at=moment.now, retry_wamid=act.wamid)
    retry = messages.get(act.wamid)
    if retry is not None and act.wamid:
        settled = joined(settled, retry) or settled
    return [settled, _audit(moment, act.actor, f"resend_{act.outcome}", resend.id, act.reason)]


def joined(resend: Resend, retry: Message) -> Resend | None:
    """Return the resend with what became of its retry; None where that says nothing new."""
    if retry.state not in ENDED or retry.state == resend.outcome:
        return None
    return msgspec.structs.replace(resend, outcome=retry.state)


def schedule(code: Resending | None) -> str:
    """Return a code's advice on resending in words."""
    if code is None:
        return ""
    times = "once" if code.most == 1 else f"at most {code.most} times"
    return f"after {code.after}, {times}"


def _why_not(message: Message, *, is_stopped: bool) -> str:
    if message.category.startswith("authentication"):
        return "one_time_password"
    if is_stopped and message.category in {"", "marketing", "marketing_lite"}:
        return "opted_out"
    return ""


def _agree(some: str, other: str) -> bool:
    return not some or not other or some == other


def _audit(moment: Moment, actor: str, action: str, target: str, reason: str) -> AuditEntry:
    return AuditEntry(moment.now, actor, action, target, reason, moment.position)
