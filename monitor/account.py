"""What the account-level fields say, typed: one record for each field of Meta's that is not `messages`.

Facts of the shapes: Meta's webhook reference of each field. A `number` is the keyed hash of a display phone number,
which is all that some fields name a number by. Free texts (descriptions, requested names) are not kept.
"""

from typing import assert_never

import msgspec

UNLIMITED = -1
BANNED = "DISABLE"  # the state of an account whose ban has no end
_TIER_UNITS = {"K": 1_000, "M": 1_000_000}


class Restriction(msgspec.Struct, frozen=True):
    """One thing that an account may not do; `until` None where Meta gives no end."""

    restriction: str
    until: float | None


class AccountUpdate(msgspec.Struct, frozen=True):
    """account_update: violations, restrictions, bans and the account's life.

    `is_free` where Meta says that nothing is restricted any more: a reinstatement, or an empty list.
    """

    violation: str = ""
    restrictions: tuple[Restriction, ...] = ()
    ban_state: str = ""
    ban_at: float | None = None
    is_free: bool = False


class AccountAlert(msgspec.Struct, frozen=True):
    """account_alerts: limits, profile, official status."""

    severity: str
    alert_type: str
    alert_status: str
    entity_type: str
    entity_id: str


class AccountReview(msgspec.Struct, frozen=True):
    """account_review_update."""

    decision: str


class Capability(msgspec.Struct, frozen=True):
    """business_capability_update: the portfolio's messages a day (UNLIMITED is -1), None where it is not said."""

    limit: int | None


class NumberQuality(msgspec.Struct, frozen=True):
    """phone_number_quality_update: pressure on a number (FLAGGED, UNFLAGGED …) and its messages a day."""

    number: str
    event: str
    limit: int | None
    previous_limit: int | None


class NumberName(msgspec.Struct, frozen=True):
    """phone_number_name_update: the verdict on a display name."""

    number: str
    decision: str
    reason: str


class Template(msgspec.Struct, frozen=True):
    """Which template: names repeat over languages."""

    template_id: str
    name: str
    language: str


class TemplateStatus(msgspec.Struct, frozen=True):
    """message_template_status_update."""

    template: Template
    status: str
    category: str
    reason: str


class TemplateQuality(msgspec.Struct, frozen=True):
    """message_template_quality_update."""

    template: Template
    quality: str
    previous_quality: str


class TemplateCategory(msgspec.Struct, frozen=True):
    """template_category_update: what the template is billed as, and what it should be where Meta says so."""

    template: Template
    category: str
    previous_category: str
    correct_category: str


class Security(msgspec.Struct, frozen=True):
    """security: PIN and two-step changes of a number."""

    number: str


class Preference(msgspec.Struct, frozen=True):
    """user_preferences: a user (keyed hash, `alias` another one) stopped or resumed a category of messages.

    `said_at` is None where Meta gives no time of its own.
    """

    recipient: str
    preference: str
    category: str
    said_at: float | None = None
    alias: str = ""


class Unspecific(msgspec.Struct, frozen=True):
    """Any other field: known by its name."""


Detail = (
    AccountUpdate | AccountAlert | AccountReview | Capability | NumberQuality | NumberName | TemplateStatus
    | TemplateQuality | TemplateCategory | Security | Preference | Unspecific
)  # fmt: skip
UNSPECIFIC = Unspecific()


def facts(detail: Detail) -> tuple[dict[str, str], ...]:
    """Return what rules can match of a detail: one set of facts, or one for each restriction."""
    match detail:
        case AccountUpdate():
            whole = {"violation": detail.violation, "ban_state": detail.ban_state}
            return tuple({**whole, "restriction": one.restriction} for one in detail.restrictions) or (whole,)
        case AccountAlert():
            return (
                {"severity": detail.severity, "alert_type": detail.alert_type, "alert_status": detail.alert_status},
            )
        case AccountReview():
            return ({"decision": detail.decision},)
        case Capability():
            return ({"limit": limit_text(detail.limit)},)
        case NumberQuality():
            return ({"limit": limit_text(detail.limit), "previous_limit": limit_text(detail.previous_limit)},)
        case NumberName():
            return ({"decision": detail.decision, "reason": detail.reason},)
        case TemplateStatus():
            return (
                {**_template(detail.template), "template_status": detail.status, "category": detail.category.lower(),
                 "reason": detail.reason},
            )  # fmt: skip
        case TemplateQuality():
            return (
                {**_template(detail.template), "quality": detail.quality, "previous_quality": detail.previous_quality},
            )
        case TemplateCategory():
            return (
                {**_template(detail.template), "category": detail.category.lower(),
                 "previous_category": detail.previous_category.lower()},
            )  # fmt: skip
        case Preference():
            return ({"preference": detail.preference, "category": detail.category},)
        case Security() | Unspecific():
            return ({},)
        case _:
            assert_never(detail)


def number(detail: Detail) -> str:
    """Return the hash of the display number that the detail is about, empty where it names none."""
    return detail.number if isinstance(detail, NumberQuality | NumberName | Security) else ""


def limit(value: str) -> int | None:
    """Return the messages a day of Meta's limit: a number, or a tier such as TIER_2K; UNLIMITED is -1."""
    tier = value.upper().removeprefix("TIER_")
    if tier in {"UNLIMITED", "-1"}:
        return UNLIMITED
    unit = _TIER_UNITS.get(tier[-1:], 1)
    digits = tier[:-1] if unit > 1 else tier
    return int(digits) * unit if digits.isascii() and digits.isdigit() and len(digits) < 12 else None


def limit_text(value: int | None) -> str:
    """Return a limit as rules match it: whole numbers, `unlimited`, or empty where it is not known."""
    if value is None:
        return ""
    return "unlimited" if value == UNLIMITED else str(value)


def _template(template: Template) -> dict[str, str]:
    return {"template": template.name, "template_id": template.template_id, "language": template.language}
