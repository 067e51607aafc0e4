"""What Meta last said of numbers, templates and accounts: quality, limits, reviews, restrictions."""

import msgspec

from monitor import account
from monitor.account import (
    AccountReview,
    AccountUpdate,
    Capability,
    NumberName,
    NumberQuality,
    Template,
    TemplateCategory,
    TemplateQuality,
    TemplateStatus,
)
from monitor.events import AccountEvent

QUALITY, LIMIT, NAME = "phone_number_quality", "messaging_limit", "phone_number_name"
TEMPLATE_STATUS, TEMPLATE_QUALITY, TEMPLATE_CATEGORY = "template_status", "template_quality", "template_category"
REVIEW, RESTRICTION, BAN = "account_review", "account_restriction", "account_ban"
_PRESSURE = frozenset({"FLAGGED", "UNFLAGGED"})  # the quality events; the others are about limits


class State(msgspec.Struct, frozen=True):
    """The last word on one thing: `said_at` is when Meta said so, `changed_at` since when it has been so.

    A number is known by `phone_number_id` or, where Meta gives only that, by `number`, the hash of its display number.
    `amount` is a limit in messages a day (-1 unlimited), or the end of a restriction in unix seconds.
    """

    name: str
    waba_id: str
    value: str
    said_at: float
    changed_at: float
    phone_number_id: str = ""
    number: str = ""
    template_id: str = ""
    template: str = ""
    language: str = ""
    amount: float | None = None

    @property
    def key(self) -> str:
        """What tells this thing from others: one restriction of an account is one thing each."""
        about = (self.waba_id, self.phone_number_id or self.number, self.template_id or self.template, self.language)
        kind = f"{self.name}:{self.value}" if self.name == RESTRICTION else self.name
        return "|".join((kind, *about))


def said(event: AccountEvent) -> list[State]:
    """Return what the event says of states."""
    detail, at = event.detail, event.occurred_at

    def state(name: str, value: str, template: Template | None = None, amount: float | None = None) -> State:
        named = template or Template("", "", "")
        number = account.number(detail)
        return State(
            name, event.waba_id, value, at, at, event.phone_number_id, number, named.template_id, named.name,
            named.language, amount,
        )  # fmt: skip

    match detail:
        case NumberQuality():
            found = [state(QUALITY, detail.event)] if detail.event in _PRESSURE else []
            if detail.limit is not None:
                found.append(state(LIMIT, account.limit_text(detail.limit), amount=detail.limit))
            return found
        case Capability() if detail.limit is not None:
            return [state(LIMIT, account.limit_text(detail.limit), amount=detail.limit)]
        case NumberName():
            return [state(NAME, detail.decision)]
        case TemplateStatus():
            return [state(TEMPLATE_STATUS, detail.status, detail.template)]
        case TemplateQuality():
            return [state(TEMPLATE_QUALITY, detail.quality, detail.template)]
        case TemplateCategory():
            return [state(TEMPLATE_CATEGORY, detail.category, detail.template)]
        case AccountReview():
            return [state(REVIEW, detail.decision)]
        case AccountUpdate():
            found = [state(RESTRICTION, one.restriction, amount=one.until) for one in detail.restrictions]
            return [*found, state(BAN, detail.ban_state)] if detail.ban_state else found
        case _:
            return []


def newer(known: State | None, state: State) -> State | None:
    """Return what to keep of a word, None where it is older than what is known."""
    if known is None:
        return state
    if state.said_at < known.said_at:
        return None
    return msgspec.structs.replace(state, changed_at=known.changed_at) if state.value == known.value else state
