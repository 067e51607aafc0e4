"""A worker that sends from a queue, and holds what it may not send."""

import queue
import time

import httpx2

from monitor.client import Gate

NUMBER = "106540352242922"
GRAPH = "http://127.0.0.1:9368/graph/v23.0"  # the sidecar's egress proxy; https://graph.facebook.com/v23.0 does as well


def work(messages: "queue.Queue[dict[str, object]]", gate: Gate, token: str, graph: str = GRAPH) -> int:
    """Send what waits, in its order; return how many were sent once nothing waits any more."""
    sent = 0
    with httpx2.Client(headers={"Authorization": f"Bearer {token}"}) as client:
        while True:
            try:
                message = messages.get_nowait()
            except queue.Empty:
                return sent
            while not (answer := gate.check(phone_number_id=NUMBER, category="utility")).allow:
                time.sleep(min(answer.retry_after_seconds or 1, 5))
            client.post(f"{graph}/{NUMBER}/messages", json=message).raise_for_status()
            sent += 1


if __name__ == "__main__":
    waiting: "queue.Queue[dict[str, object]]" = queue.Queue()
    waiting.put({"messaging_product": "whatsapp", "to": "15550001234", "type": "text", "text": {"body": "Hello"}})
    with Gate(on_error="deny") as followed:
        print(work(waiting, followed, "EAAG..."))
