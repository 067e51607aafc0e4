"""The values of the account-level fields as typed details; what is missing or of another type is empty."""

from collections.abc import Callable, Mapping
from typing import Any

from monitor import account
from monitor.account import (
    UNSPECIFIC,
    AccountAlert,
    AccountReview,
    AccountUpdate,
    Capability,
    Detail,
    NumberName,
    NumberQuality,
    Preference,
    Restriction,
    Security,
    Template,
    TemplateCategory,
    TemplateQuality,
    TemplateStatus,
)
from monitor.scalars import dictionaries, text, time, word

Value = dict[Any, Any]
Pseudonym = Callable[[str], str]


def details(field: str, value: Value, pseudonym: Pseudonym) -> list[tuple[str, Detail]]:
    """Return what a change says, each with its name for people (`event`); never empty."""
    # Meta's own sample of a quality update calls its field message_template_status_update.
    if field == "message_template_status_update" and "new_quality_score" in value:
        field = "message_template_quality_update"
    if field == "user_preferences":
        user_ids = {text(one.get("wa_id")): text(one.get("user_id")) for one in dictionaries(value.get("contacts"))}
        found = [_preference(item, user_ids, pseudonym) for item in dictionaries(value.get("user_preferences"))]
        return [(one.preference, one) for one in found] or [("", UNSPECIFIC)]
    event = word(value.get("event")) or word(value.get("decision"))
    read = _READ.get(field)
    if read is None:
        return [(event, UNSPECIFIC)]
    detail = read(value, pseudonym)
    return [(event or _event(detail), detail)]


def _event(detail: Detail) -> str:
    match detail:
        case AccountAlert():
            return detail.alert_type
        case TemplateQuality():
            return detail.quality
        case TemplateCategory():
            return detail.category
        case _:
            return ""


def _account_update(value: Value, _: Pseudonym) -> Detail:
    violation, ban = _object(value, "violation_info"), _object(value, "ban_info")
    ban_state = word(_first(ban, "waba_ban_state"))
    # What is missing or can't be read lifts nothing: a restriction that is announced would open the gate.
    is_unrestricted = word(value.get("event")) == "ACCOUNT_RESTRICTION" and value.get("restriction_info") == []
    return AccountUpdate(
        word(violation.get("violation_type")),
        tuple(
            Restriction(word(one.get("restriction_type")), time(one.get("expiration")))
            for one in dictionaries(value.get("restriction_info"))
        ),
        ban_state,
        time(ban.get("waba_ban_date")),
        ban_state == "REINSTATE" or is_unrestricted,
    )


def _account_alert(value: Value, _: Pseudonym) -> Detail:
    info = _object(value, "alert_info") or value
    return AccountAlert(
        word(info.get("alert_severity")),
        word(info.get("alert_type")),
        word(info.get("alert_status")),
        word(value.get("entity_type")),
        text(value.get("entity_id")),
    )


def _account_review(value: Value, _: Pseudonym) -> Detail:
    return AccountReview(word(value.get("decision")))


def _capability(value: Value, _: Pseudonym) -> Detail:
    names = ("max_daily_conversations_per_business", "max_daily_conversation_per_phone")
    return Capability(account.limit(next((text(value[name]) for name in names if name in value), "")))


def _number_quality(value: Value, pseudonym: Pseudonym) -> Detail:
    names = ("max_daily_conversations_per_business", "current_limit")
    limit = next((text(value[name]) for name in names if text(value.get(name))), "")
    return NumberQuality(
        _number(value, pseudonym),
        word(value.get("event")),
        account.limit(limit),
        account.limit(text(value.get("old_limit"))),
    )


def _number_name(value: Value, pseudonym: Pseudonym) -> Detail:
    return NumberName(_number(value, pseudonym), word(value.get("decision")), word(value.get("rejection_reason")))


def _template_status(value: Value, _: Pseudonym) -> Detail:
    reason = word(value.get("reason"))
    return TemplateStatus(
        _template(value),
        word(value.get("event")),
        word(value.get("message_template_category")),
        "" if reason == "NONE" else reason,
    )


def _template_quality(value: Value, _: Pseudonym) -> Detail:
    return TemplateQuality(
        _template(value), word(value.get("new_quality_score")), word(value.get("previous_quality_score"))
    )


def _template_category(value: Value, _: Pseudonym) -> Detail:
    return TemplateCategory(
        _template(value),
        word(value.get("new_category")),
        word(value.get("previous_category")),
        word(value.get("correct_category")),
    )


def _security(value: Value, pseudonym: Pseudonym) -> Detail:
    return Security(_number(value, pseudonym))


def _preference(item: Value, user_ids: Mapping[str, str], pseudonym: Pseudonym) -> Preference:
    wa_id = text(item.get("wa_id"))
    person = text(item.get("user_id")) or user_ids.get(wa_id) or wa_id
    alias = pseudonym(wa_id) if wa_id != person else ""
    said_at = time(item.get("timestamp"))
    return Preference(pseudonym(person), word(item.get("value")), word(item.get("category")), said_at, alias)


def _template(value: Value) -> Template:
    return Template(
        text(value.get("message_template_id")),
        text(value.get("message_template_name")),
        text(value.get("message_template_language")),
    )


def _number(value: Value, pseudonym: Pseudonym) -> str:
    return pseudonym(text(value.get("display_phone_number")))


def _object(value: Value, name: str) -> Value:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


def _first(value: Value, name: str) -> Any:
    """Return a scalar, or the first of a list: ban states come in both forms."""
    inner = value.get(name)
    return inner[0] if isinstance(inner, list) and inner else inner


_READ: dict[str, Callable[[Value, Pseudonym], Detail]] = {
    "account_update": _account_update,
    "account_alerts": _account_alert,
    "account_review_update": _account_review,
    "business_capability_update": _capability,
    "phone_number_quality_update": _number_quality,
    "phone_number_name_update": _number_name,
    "message_template_status_update": _template_status,
    "message_template_quality_update": _template_quality,
    "template_category_update": _template_category,
    "security": _security,
}
