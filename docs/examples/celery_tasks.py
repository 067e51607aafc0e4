"""A Celery task that is retried when sending is allowed again: its worker is free meanwhile."""

import os
from typing import Any

import celery
import httpx2

from monitor.client import Gate, SendingPausedError

GRAPH = os.environ.get("GRAPH_URL", "http://127.0.0.1:9368/graph/v23.0")
app = celery.Celery("messages", broker=os.environ.get("BROKER_URL", "redis://127.0.0.1/0"))
gate = Gate(os.environ.get("WHATSAPP_MONITOR_URL", "http://127.0.0.1:9368"), on_error="deny")


@app.task(bind=True, max_retries=None)
def send(task: Any, number: str, template: str, recipient: str, token: str) -> str:
    """Send a template; return its wamid."""
    try:
        gate.require(phone_number_id=number, template=template, category="marketing", recipient=recipient)
    except SendingPausedError as paused:
        raise task.retry(exc=paused, countdown=paused.retry_after_seconds) from None
    message = {
        "messaging_product": "whatsapp", "to": recipient, "type": "template",
        "template": {"name": template, "language": {"code": "en_US"}},
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": task.request.id}
    answer = httpx2.post(f"{GRAPH}/{number}/messages", json=message, headers=headers, timeout=70)
    return str(answer.raise_for_status().json()["messages"][0]["id"])
