"""Webhook bodies as Meta would write them, for the simulator and the tests."""

import json
from typing import Any


def delivery(*changes: dict[str, Any], waba_id: str = "100000000000001", time: float | None = None) -> bytes:
    """Return a signed-to-be body with one entry; non-ASCII is escaped, as Meta does."""
    entry = {"id": waba_id, **({} if time is None else {"time": int(time)}), "changes": list(changes)}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, separators=(",", ":")).encode()


def change(
    phone_number_id: str,
    *,
    statuses: list[dict[str, Any]] | None = None,
    messages: list[dict[str, Any]] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return a change of the `messages` field; empty lists are left out."""
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550000000", "phone_number_id": phone_number_id},
    }
    parts = {"statuses": statuses, "messages": messages, "errors": errors}
    value.update({name: items for name, items in parts.items() if items})
    return {"field": "messages", "value": value}


def status(
    wamid: str,
    name: str,
    at: float,
    *,
    recipient: str = "15550000001",
    category: str = "utility",
    codes: tuple[int, ...] = (),
    callback_data: str = "",
) -> dict[str, Any]:
    """Return one object of `statuses`."""
    item: dict[str, Any] = {"id": wamid, "status": name, "timestamp": str(int(at)), "recipient_id": recipient}
    if name in {"sent", "delivered", "read"}:
        item["conversation"] = {"id": f"c-{recipient}", "origin": {"type": category}}
        item["pricing"] = {"billable": True, "pricing_model": "PMP", "category": category, "type": "regular"}
    if callback_data:
        item["biz_opaque_callback_data"] = callback_data
    if codes:
        item["errors"] = [error(code) for code in codes]
    return item


def message(wamid: str, at: float, *, sender: str = "15550000001", message_type: str = "text") -> dict[str, Any]:
    """Return one object of `messages`."""
    item: dict[str, Any] = {"id": wamid, "from": sender, "timestamp": str(int(at)), "type": message_type}
    if message_type == "text":
        item["text"] = {"body": "Hello \U0001f44b"}
    return item


def error(code: int) -> dict[str, Any]:
    """Return one object of `errors`."""
    return {"code": code, "title": f"({code})", "message": f"({code})", "error_data": {"details": "simulated"}}
