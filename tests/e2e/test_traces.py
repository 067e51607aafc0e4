"""A message's trace from the send to the alert, as a receiver that is not ours (oteltap) understands it."""

import asyncio
import time
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from monitor import payloads
from tests.harness import exchange, meta, ports
from tests.harness.collector import attributes
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = pytest.mark.slow

BODY = b'{"messaging_product": "whatsapp", "to": "15550000001", "type": "text", "text": {"body": "hello"}}'
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LIFE = {
    "send", "POST messages", "gate", "sent", "failed", "lifecycle failed", "forward app", "alert pager",
}  # fmt: skip


async def test_one_message_is_one_trace_from_the_send_to_the_alert(tmp_path: Path) -> None:
    port = ports.free()
    settings = OtelTapHttpProtobufReceiverSettings(http_port=port, listen_on_all_interfaces=False)
    found: list[Span] = []
    async with OtelTapHttpProtobufReceiver(settings) as receiver:

        async def keep() -> None:
            async for span in receiver.stream_traces():
                found.append(span)  # noqa: PERF401 (the stream has no end)

        keeping = asyncio.create_task(keep())
        wamid = await asyncio.to_thread(play, tmp_path, f"http://127.0.0.1:{port}")
        end = time.monotonic() + 10
        while not {span.name for span in found} >= LIFE and time.monotonic() < end:
            await asyncio.sleep(0.05)
        keeping.cancel()

    assert {span.name for span in found} >= LIFE
    own = [span for span in found if attributes(span).get("messaging.message.id") == wamid]
    (root,) = (span for span in own if not span.parent_span_id)
    ids = {span.span_id for span in found}
    assert root.name == "send"
    assert {span.trace_id for span in found} == {root.trace_id, bytes.fromhex(PARENT.split("-")[1])}
    assert all(span.parent_span_id in ids for span in found if span.trace_id == root.trace_id and span is not root)
    denied = [span for span in found if span.trace_id != root.trace_id]
    assert [attributes(span)["whatsapp.gate.decision"] for span in denied] == ["deny"]
    assert {span.parent_span_id.hex() for span in denied} == {PARENT.split("-")[2]}
    failed = next(span for span in own if span.name == "failed")
    assert attributes(failed)["error.type"] == "368"
    assert "policy_block" in str(failed.attributes)


def play(folder: Path, endpoint: str) -> str:
    """Send a message that Meta then answers with a block; return its wamid."""
    with Graph() as graph, Target() as app, Target() as pager:
        sidecar = Sidecar(
            folder, graph={"url": graph.url}, forward=[{"name": "app", "url": app.url}],
            alerts={"webhooks": [{"name": "pager", "url": pager.url}]},
            tracing={"endpoint": endpoint, "sample": {"default": 1.0, "failed": 1.0}},
        )  # fmt: skip
        with sidecar, meta.of(sidecar) as sender:
            sidecar.start()
            path, headers = f"/v23.0/{NUMBER}/messages", {"Content-Type": "application/json"}
            answer = exchange.ask(sidecar.web_port, "POST", f"/graph{path}", BODY, headers)
            wamid: str = answer.json()["messages"][0]["id"]
            sidecar.settle()
            now = time.time()
            assert sender.statuses(payloads.status(wamid, "sent", now)).status == 200
            assert sender.statuses(payloads.status(wamid, "failed", now + 1, codes=(368,))).status == 200
            sidecar.settle()
            asked = sidecar.get(f"/v1/gate/{NUMBER}", traceparent=PARENT)
            assert asked.status == 403
            assert sidecar.terminate() == 0
            return wamid
