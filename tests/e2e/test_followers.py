"""Followers of a real process: the stream as it is on the wire, both gates, and the examples of the documentation."""

import asyncio
import http.client
import importlib.util
import json
import queue
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from monitor import payloads
from monitor.client import AsyncGate, Gate, SendingPausedError
from tests.harness import exchange, meta, patience
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import Sidecar

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def graph() -> Iterator[Graph]:
    with Graph() as made:
        yield made


@pytest.fixture
def sidecar(tmp_path: Path, graph: Graph) -> Iterator[Sidecar]:
    with Sidecar(tmp_path, graph={"url": graph.url}) as made:
        made.start()
        yield made


@pytest.fixture
def sender(sidecar: Sidecar) -> Iterator[Meta]:
    with meta.of(sidecar) as made:
        made.statuses(payloads.status("wamid.earlier", "sent", time.time()))
        sidecar.settle()
        yield made


class Stream:
    """One open stream, read line by line."""

    def __init__(self, sidecar: Sidecar, query: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", sidecar.web_port, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/v1/events{query}", headers=named)
        self.answer = self._connection.getresponse()

    def event(self) -> tuple[str, str, Any]:
        """Return the next event's id, name and data, whatever comments and retries stand before it."""
        found: dict[str, str] = {}
        while True:
            line = self.answer.readline().decode()
            assert line, "the stream has ended"
            name, _, value = line.rstrip("\r\n").partition(": ")
            if name:
                found[name] = value
            elif "data" in found:
                return found.get("id", ""), found["event"], json.loads(found["data"])

    def until(self, name: str) -> tuple[str, Any]:
        """Return id and data of the next event of that name."""
        while True:
            position, found, data = self.event()
            if found == name:
                return position, data

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def block(sender: Meta) -> None:
    sender.statuses(payloads.status(f"wamid.{time.time_ns()}", "failed", time.time(), codes=(368,)))


def release(sidecar: Sidecar) -> None:
    for pause in exchange.ask(sidecar.web_port, "GET", "/v1/pauses").json()["pauses"]:
        act = json.dumps({"actor": "test", "reason": "over"}).encode()
        json_type = {"Content-Type": "application/json"}
        assert exchange.ask(sidecar.web_port, "POST", f"/v1/pauses/{pause['id']}/resume", act, json_type).status == 200


def test_the_stream_begins_with_how_it_stands_and_goes_on_where_it_was_left(sidecar: Sidecar, sender: Meta) -> None:
    stream = Stream(sidecar, "?heartbeat=1s")
    assert stream.answer.getheader("content-type", "").startswith("text/event-stream")
    _, snapshot = stream.until("snapshot")
    assert (snapshot["pauses"], snapshot["numbers"]) == ([], {NUMBER: WABA_ID})

    block(sender)
    _, pause = stream.until("pause")
    position, _ = stream.until("alert")  # the last of the step has its id
    assert (pause["rule"], pause["scope_id"]) == ("policy_block", WABA_ID)
    stream.close()
    release(sidecar)

    again = Stream(sidecar, "?heartbeat=1s", Last_Event_ID=position)
    missed = again.until("pause")[1]
    assert (missed["id"], missed["released_by"]) == (pause["id"], "test")
    again.close()


def test_after_a_restart_who_is_too_far_behind_hears_how_it_stands(sidecar: Sidecar, sender: Meta) -> None:
    block(sender)
    sidecar.settle()
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait() == 0
    sidecar.start()

    stream = Stream(sidecar, Last_Event_ID="1")

    assert [pause["rule"] for pause in stream.until("snapshot")[1]["pauses"]] == ["policy_block"]
    stream.close()


def test_the_journal_can_be_followed_from_any_place_without_a_gap(sidecar: Sidecar, sender: Meta) -> None:
    for number in range(30):
        sender.statuses(payloads.status(f"wamid.{number}", "sent", time.time()))
    sidecar.settle()
    stream = Stream(sidecar, "?events=status&after=0&heartbeat=1s")
    wamids = [stream.until("status")[1]["wamid"] for _ in range(16)]
    position, last = stream.until("status")
    stream.close()
    for number in range(30, 35):
        sender.statuses(payloads.status(f"wamid.{number}", "sent", time.time()))

    again = Stream(sidecar, "?events=status", Last_Event_ID=position)
    wamids += [last["wamid"], *(again.until("status")[1]["wamid"] for _ in range(19))]
    again.close()

    assert [wamid for wamid in wamids if wamid != "wamid.earlier"] == [f"wamid.{number}" for number in range(35)]


@pytest.mark.parametrize(
    ("query", "status"),
    [("?events=nonsense", 422), ("?heartbeat=never", 422), ("?heartbeat=0s", 422), ("?heartbeat=999ms", 422)],
)
def test_what_cannot_be_streamed_is_refused(sidecar: Sidecar, query: str, status: int) -> None:
    assert exchange.ask(sidecar.web_port, "GET", f"/v1/events{query}").status == status


def test_streams_end_when_the_sidecar_is_asked_to(sidecar: Sidecar, sender: Meta) -> None:
    stream = Stream(sidecar)
    stream.until("snapshot")
    started = time.monotonic()

    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait() == 0

    assert time.monotonic() - started < 3
    with pytest.raises(AssertionError, match="ended"):
        stream.until("pause")
    stream.close()


def test_a_gate_answers_from_memory_and_follows_pause_and_release(sidecar: Sidecar, sender: Meta) -> None:
    with Gate(sidecar.web_url, name="app-1") as gate:
        assert gate.check(phone_number_id=NUMBER, category="marketing").reason == "not_paused"
        checks = 'whatsapp_gate_checks_total{reason="not_paused",verdict="allow",via="check"}'
        assert checks not in exchange.ask(sidecar.web_port, "GET", "/metrics").body.decode()

        block(sender)
        patience.until(lambda: not gate.check(phone_number_id=NUMBER).allow)
        answer = gate.check(phone_number_id=NUMBER)
        assert (answer.reason, answer.key, answer.rule, answer.code) == ("paused_waba", "rules", "policy_block", 368)
        with pytest.raises(SendingPausedError, match="paused_waba; ask again in 60 s"):
            gate.require(phone_number_id=NUMBER)

        def followers() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = exchange.ask(sidecar.web_port, "GET", "/v1/followers").json()["followers"]
            return found

        patience.until(lambda: bool(followers()[0]["seen_position"]))
        assert (followers()[0]["name"], followers()[0]["seen_seconds"] < 1) == ("app-1", True)
        release(sidecar)
        patience.until(lambda: gate.check(phone_number_id=NUMBER).allow)
    patience.until(lambda: not followers())


@pytest.mark.parametrize(("on_error", "allow"), [("deny", False), ("allow", True)])
def test_a_gate_without_its_sidecar_fails_as_it_was_told_and_finds_it_again(
    sidecar: Sidecar, sender: Meta, on_error: str, allow: bool
) -> None:
    with Gate(sidecar.web_url, on_error=on_error, stale_seconds=0.5) as gate:
        sidecar.kill()
        patience.until(lambda: gate.check(phone_number_id=NUMBER).reason == "stale")
        assert gate.check(phone_number_id=NUMBER).allow == allow

        sidecar.start()
        patience.until(lambda: gate.check(phone_number_id=NUMBER).reason == "not_paused")


def test_a_gate_that_never_met_its_sidecar_fails_as_it_was_told() -> None:
    gate = Gate("http://127.0.0.1:9", on_error={"marketing": "deny", "business_initiated": "allow", "all": "allow"})
    gate.start(wait_seconds=0.2)

    assert not gate.check(category="marketing").allow
    assert gate.check(category="utility").allow
    gate.close()


def test_what_only_the_sidecar_can_tell_is_asked_of_it(sidecar: Sidecar, sender: Meta) -> None:
    act = {"actor": "ann", "reason": "opted out", "scope": "recipient", "scope_id": "+1 555 000 0001"}
    json_type = {"Content-Type": "application/json"}
    with Gate(sidecar.web_url) as gate:
        assert exchange.ask(sidecar.web_port, "POST", "/v1/pauses", json.dumps(act).encode(), json_type).status == 201
        patience.until(lambda: not gate.check(phone_number_id=NUMBER, recipient="15550000001").allow)
        assert gate.check(phone_number_id=NUMBER, recipient="15550000002").allow
        assert gate.check(phone_number_id=NUMBER).allow


FORKING = """
import os, sys, time
from monitor.client import Gate
gate = Gate(sys.argv[1], stale_seconds=1.0).start()
child = os.fork()
if child == 0:
    time.sleep(1.5)  # what was inherited is stale by now
    gate.start()
    os._exit(0 if gate.check(phone_number_id="1").reason == "not_paused" else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_forked_follows_by_itself(sidecar: Sidecar, sender: Meta) -> None:
    assert subprocess.run([sys.executable, "-c", FORKING, sidecar.web_url], cwd=EXAMPLES.parents[1]).returncode == 0


async def test_the_gate_for_event_loops_sees_a_pause_within_milliseconds(sidecar: Sidecar, sender: Meta) -> None:
    seconds = []
    async with AsyncGate(sidecar.web_url, name="loop") as gate:
        for _ in range(10):
            await asyncio.to_thread(block, sender)
            answered = time.perf_counter()
            while (await gate.check(phone_number_id=NUMBER)).allow:
                await asyncio.sleep(0.001)
            seconds.append(time.perf_counter() - answered)
            await asyncio.to_thread(release, sidecar)
            while not (await gate.check(phone_number_id=NUMBER)).allow:
                await asyncio.sleep(0.001)
        await gate.require(phone_number_id=NUMBER)

    assert statistics.median(seconds) < 0.1


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_a_plain_loop_sends_what_waits(
    sidecar: Sidecar, sender: Meta, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = example("plain_loop")
    waiting: queue.Queue[dict[str, object]] = queue.Queue()
    for number in range(3):
        waiting.put({"to": f"1555000000{number}", "type": "text", "text": {"body": "Hello"}})
    monkeypatch.setattr(loop, "NUMBER", NUMBER)

    with Gate(sidecar.web_url) as gate:
        sent = loop.work(waiting, gate, "token", f"{sidecar.web_url}/graph/v23.0")

    assert (sent, len(graph.requests)) == (3, 3)


def test_the_example_of_a_celery_task_retries_when_sending_is_paused(
    sidecar: Sidecar, sender: Meta, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    celery = pytest.importorskip("celery")
    monkeypatch.setenv("WHATSAPP_MONITOR_URL", sidecar.web_url)
    monkeypatch.setenv("GRAPH_URL", f"{sidecar.web_url}/graph/v23.0")
    monkeypatch.setenv("BROKER_URL", "memory://")
    tasks = example("celery_tasks")
    asked = {"number": NUMBER, "template": "offer", "recipient": "15550000001", "token": "EAAG"}

    wamid = tasks.send.apply(kwargs=asked).get()
    block(sender)
    patience.until(lambda: not tasks.gate.check(phone_number_id=NUMBER).allow)

    assert wamid.startswith("wamid.")
    assert "idempotency-key" not in graph.requests[0][1].headers or graph.requests[0][1].headers["idempotency-key"]
    with pytest.raises(celery.exceptions.Retry) as retried:
        tasks.send.apply(kwargs=asked, throw=True)
    assert retried.value.when == 60
    assert len(graph.requests) == 1
    tasks.gate.close()
