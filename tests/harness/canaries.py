"""Texts that stand nowhere else, planted into webhooks wherever people, their words or secrets may stand."""

import base64
import html
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from monitor import payloads

NAME, USERNAME = "Quillon Vexbramble", "vexbramble.q71"
PHONE, OTHER_PHONE, OWN_PHONE = "15550107431", "15550168209", "15550190577"
USER_ID, PARENT_ID = "US.70913586221408835167", "US.ENT.40271599318862735064"
TEXT = "the marmalade heron left at eleven 7f3c"
ACCESS_TOKEN = "EAAGcanary9ZCtokenQ2xv7WkLm4RbUe81"
APP_SECRET = "c4n4ry0app0secret0d1f7b93a5e2846c0"
VERIFY_TOKEN = "canary-verify-token-5hT9wq"
WEB_TOKEN = "canary-operator-token-J3kd82mzQp"
OF_PEOPLE = (NAME, USERNAME, PHONE, OTHER_PHONE, OWN_PHONE, USER_ID, PARENT_ID, TEXT)
SECRETS = (ACCESS_TOKEN, APP_SECRET, VERIFY_TOKEN, WEB_TOKEN)
ALL = (*OF_PEOPLE, *SECRETS)

_PHONES = frozenset({"wa_id", "from", "recipient_id", "phone", "input", "recipient_participant_id"})
_USER_IDS = frozenset(
    {"user_id", "from_user_id", "to_user_id", "recipient_user_id", "recipient_participant_user_id", "from_logical_id"}
)
_NAMES = frozenset(
    {"name", "first_name", "last_name", "formatted_name", "requested_verified_name", "company", "filename", "org"}
)
# What Meta or the application means to be seen: ids of accounts, numbers, messages, templates and campaigns.
_SHOWN = frozenset(
    {"field", "id", "phone_number_id", "timestamp", "message_template_id", "message_template_name",
     "message_template_language", "biz_opaque_callback_data", "waba_id", "entity_id", "messaging_product"}
)  # fmt: skip
_WORDS = frozenset(
    {"status", "type", "event", "category", "pricing_model", "decision", "value", "alert_type", "alert_severity",
     "alert_status", "entity_type", "current_limit", "violation_type", "restriction_type", "waba_ban_state", "reason",
     "new_quality_score", "previous_quality_score", "new_category", "previous_category", "message_template_category",
     "rejection_reason", "max_daily_conversations_per_business", "old_limit"}
)  # fmt: skip


def wamid(number: int) -> str:
    """Return a message id that holds the person's number in base64, as Meta's do."""
    return "wamid." + base64.b64encode(b"\x1d\x18\x0b" + PHONE.encode() + b"\x15\x02%09d" % number).decode()


WAMID_PART = wamid(0)[6:22]


def planted(node: Any, key: str = "") -> Any:
    """Return the node with a canary for each text that is not meant to be seen, and with keys that nobody knows."""
    if isinstance(node, dict):
        whole = {name: planted(inner, name) for name, inner in node.items()}
        return {**whole, "x_new": {"note": TEXT, "number": PHONE, "of": [NAME, USER_ID, ACCESS_TOKEN], PHONE: TEXT}}
    if isinstance(node, list):
        return [planted(inner, key) for inner in node]
    if not isinstance(node, str) or key in _SHOWN | _WORDS:
        return node
    if key == "display_phone_number":
        return OWN_PHONE
    kinds = ((_PHONES, PHONE), (_USER_IDS, USER_ID), (_NAMES, NAME), ({"username"}, USERNAME),
             ({"to", "requester", "new_wa_id"}, OTHER_PHONE),
             ({"parent_user_id"}, PARENT_ID))  # fmt: skip
    return next((canary for keys, canary in kinds if key in keys), f"{TEXT} {NAME} +{PHONE} {ACCESS_TOKEN}")


def worded(node: Any, key: str = "") -> Any:
    """Return the node with a word that Meta does not have for each of Meta's words."""
    if isinstance(node, dict):
        return {name: worded(inner, name) for name, inner in node.items()}
    if isinstance(node, list):
        return [worded(inner, key) for inner in node]
    return f"{TEXT} {PHONE}" if isinstance(node, str) and key in _WORDS else node


def deliveries(number: str, waba_id: str, since: int) -> Iterator[bytes]:
    """Yield without end: bodies of every shape, each with message ids of its own."""
    serial = since
    while True:
        for change in _changes(number, serial):
            whole = {"object": "whatsapp_business_account", "entry": [{"id": waba_id, "changes": [planted(change)]}]}
            yield json.dumps({**whole, "x_new": TEXT}).encode()
        serial += 100


def odd(number: str, waba_id: str, since: int) -> list[bytes]:
    """Return bodies with other words than Meta's, and such that can't be read."""
    bodies = [
        payloads.delivery(planted(worded(change)), waba_id=waba_id) for change in _changes(number, since)
    ]  # fmt: skip
    unread: tuple[Any, ...] = (
        TEXT, [TEXT], {TEXT: TEXT}, {"entry": TEXT}, {"entry": [TEXT]}, {"entry": [{"id": PHONE, "changes": TEXT}]},
        {"entry": [{"id": waba_id, "changes": [TEXT, {"field": "messages", "value": TEXT}]}]},
        {"entry": [{"changes": [{"field": "messages", "value": {"statuses": [TEXT, {"recipient_id": PHONE}]}}]}]},
        {"entry": [{"changes": [{"field": "messages", "value": {"messages": [{"from": PHONE, "text": TEXT}]}}]}]},
        {"entry": [{"changes": [{"field": TEXT, "value": {"event": PHONE, "note": TEXT}}]}]},
        {"entry": [{"changes": [{"field": "security", "value": TEXT}]}]},
    )  # fmt: skip
    return [*bodies, b"{" + TEXT.encode(), *(json.dumps(one).encode() for one in unread)]


def hits(text: str, wanted: tuple[str, ...] = ALL) -> list[str]:
    """Return the canaries that stand in a text, as they are or written for a URL or HTML; digits in any grouping."""
    squeezed = "".join(char for char in text if char not in " -()+\u00a0")
    return [
        canary
        for canary in wanted
        if any(form in text for form in {canary, quote(canary), quote(canary, safe=""), html.escape(canary)})
        or (canary.isdigit() and canary in squeezed)
    ]


def _changes(number: str, serial: int) -> Iterator[dict[str, Any]]:
    ids = iter(range(serial, serial + 100))
    contacts = [{"profile": {"name": "x", "username": "x"}, "wa_id": "x", "user_id": "x", "parent_user_id": "x"}]

    def told(**parts: Any) -> dict[str, Any]:
        made = payloads.change(number, **parts)
        made["value"]["contacts"] = contacts
        return made

    for name in ("sent", "delivered", "read", "failed", "deleted", "warning"):
        codes = (131026,) if name == "failed" else ()
        item = payloads.status(wamid(next(ids)), name, time.time(), recipient="x", codes=codes)
        more = {"recipient_user_id": "x", "recipient_participant_id": "x", "recipient_participant_user_id": "x"}
        yield told(statuses=[{**item, **more}])
        yield told(statuses=[payloads.status(wamid(next(ids)), name, time.time(), recipient="x", codes=codes)])
    for code in (130472, 131043, 131047, 131049, 131051, 131056, 131999, 424242):
        yield told(statuses=[payloads.status(wamid(next(ids)), "failed", time.time(), recipient="x", codes=(code,))])
    for kind, content in _CONTENTS.items():
        item = {**payloads.message(wamid(next(ids)), time.time(), message_type=kind), kind: content}
        also = {"from_user_id": "x", "context": {"from": "x", "id": wamid(0)}, "errors": [payloads.error(131051)]}
        yield told(messages=[{**item, **also}])
    yield told(errors=[{**payloads.error(131000), "href": "x"}])
    for field, value in _ACCOUNT:
        yield {"field": field, "value": {**value, "contacts": contacts, "errors": [payloads.error(131000)]}}


_MEDIA = {"id": "1", "mime_type": "x", "sha256": "x", "url": "x", "caption": "x", "filename": "x"}
_CONTENTS: dict[str, Any] = {
    "text": {"body": "x"},
    **dict.fromkeys(("image", "audio", "video", "document", "sticker", "voice"), _MEDIA),
    "location": {"latitude": 52.1, "longitude": 4.9, "name": "x", "address": "x", "url": "x"},
    "contacts": [{"name": {"first_name": "x", "last_name": "x", "formatted_name": "x"}, "org": {"company": "x"},
                  "phones": [{"phone": "x", "wa_id": "x", "type": "CELL"}], "birthday": "x",
                  "emails": [{"email": "x"}]}],
    "button": {"payload": "x", "text": "x"},
    "interactive": {"type": "nfm_reply", "list_reply": {"id": "1", "title": "x", "description": "x"},
                    "nfm_reply": {"body": "x", "name": "x", "response_json": "x"}},
    "order": {"catalog_id": "x", "text": "x", "product_items": [{"product_retailer_id": "x", "currency": "EUR"}]},
    "reaction": {"message_id": "x", "emoji": "x"},
    "system": {"body": "x", "type": "user_changed_number", "wa_id": "x", "new_wa_id": "x", "customer": "x"},
    "referral": {"body": "x", "headline": "x", "source_url": "x", "ctwa_clid": "x"},
    "edit": {"original_message_id": "x", "message": {"type": "image", "image": _MEDIA}},
    "unsupported": {"type": "unknown"},
}  # fmt: skip
_TEMPLATE = {"message_template_id": "7", "message_template_name": "hello", "message_template_language": "en"}
_ACCOUNT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("account_update", {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "ADULT", "note": "x"}}),
    ("account_alerts", {"entity_type": "BUSINESS", "entity_id": "1", "alert_info": {
        "alert_severity": "WARNING", "alert_status": "ACTIVE", "alert_type": "OBA", "alert_description": "x"}}),
    ("account_review_update", {"decision": "APPROVED", "note": "x"}),
    ("business_capability_update", {"max_daily_conversations_per_business": "2000", "note": "x"}),
    ("phone_number_quality_update", {"display_phone_number": "x", "event": "FLAGGED", "current_limit": "TIER_1K"}),
    ("phone_number_name_update", {"display_phone_number": "x", "decision": "REJECTED", "requested_verified_name": "x",
                                  "rejection_reason": "NAME"}),
    ("message_template_status_update", {**_TEMPLATE, "event": "PAUSED", "reason": "NONE", "other_info": {
        "title": "x", "description": "x"}, "disable_info": {"disable_date": "x"}}),
    ("message_template_quality_update", {**_TEMPLATE, "new_quality_score": "RED", "previous_quality_score": "GREEN"}),
    ("message_template_components_update", {**_TEMPLATE, "message_template_element": "x"}),
    ("template_category_update", {**_TEMPLATE, "new_category": "MARKETING", "previous_category": "UTILITY"}),
    ("security", {"display_phone_number": "x", "event": "PIN_CHANGED", "requester": "x"}),
    ("user_preferences", {"user_preferences": [{"wa_id": "x", "user_id": "x", "detail": "x", "value": "stop",
                                                "category": "marketing_messages"}]}),
    ("user_id_update", {"user_id_update": [{"wa_id": "x", "user_id": {"previous": "x", "current": "x"}}]}),
    ("smb_message_echoes", {"message_echoes": [{"from": "x", "to": "x", "id": "wamid.echo", "text": {"body": "x"}}]}),
    ("smb_app_state_sync", {"state_sync": [{"type": "contact", "contact": {"name": "x", "phone": "x"}}]}),
    ("history", {"history": [{"threads": [{"id": "1", "messages": [{"from": "x", "text": {"body": "x"}}]}]}]}),
    ("calls", {"calls": [{"id": "wacid.1", "from": "x", "to": "x", "event": "connect", "session": {"sdp": "x"}}]}),
    ("flows", {"event": "FLOW_STATUS_CHANGE", "message": "x", "flow_id": "x"}),
    ("partner_solutions", {"event": "SOLUTION_CREATED", "solution_id": "x"}),
    ("group_lifecycle_update", {"groups": [{"group_id": "x", "subject": "x", "invite_link": "x", "errors": [
        payloads.error(131000)]}]}),
)  # fmt: skip
