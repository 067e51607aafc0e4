"""Each lane under each fault: the real process, its followers and nginx before it answer as docs/http.md has it.

One number is paused in every lane, another one is not; `gate.on_error` denies everywhere, or opens all but marketing.
"""

import contextlib
import functools
import http.client
import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from monitor.client import Gate
from tests.harness import ailing, exchange, lanes, meta, nginx, patience, ports, syscalls
from tests.harness.ailing import Fault
from tests.harness.graph import Graph
from tests.harness.lanes import FOLLOWER, GATE, LANES, POLICIES, PROXY, ROWS, Row, Told
from tests.harness.meta import NUMBER, Traffic
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FREE = "200000000000002"
PERSON = "15550000009"
CHECKS = "whatsapp_gate_checks_total"
ASK_SECONDS = 2.0  # how long an answer is waited for
STALE_SECONDS = 3.0  # longer than between two heartbeats
ACT = {"actor": "ann", "reason": "a pause that stands"}
MESSAGE = json.dumps({"to": "15550000001", "type": "template", "template": {"name": "offer"}}).encode()
QUIET = ("--log.level", "error")
NGINX_FOLDER = Path(__file__).parents[2] / "deploy" / "nginx"


@dataclass(frozen=True)
class Seen:
    """One answer: `allow` is None where there was none, or none that could be understood."""

    allow: bool | None
    reason: str = ""


Asking = Callable[[str, dict[str, str]], Seen]
Found = dict[tuple[str, str, str], list[Seen]]  # by policy, lane and number


class Bench:
    """A sidecar with a pause in force, its faults, and those who ask."""

    def __init__(self, sidecar: Sidecar, graph: Graph, folder: Path) -> None:
        self.sidecar = sidecar
        self.product = sidecar.program
        self._graph = graph
        self._folder = folder
        self._always = {"graph": {"url": graph.url}}
        self._settings: dict[str, object] = {}

    def hold(self) -> None:
        """Pause one number and one person."""
        for scope, scope_id in (("phone_number", NUMBER), ("recipient", PERSON)):
            assert self.sidecar.post("/v1/pauses", scope=scope, scope_id=scope_id, **ACT).status == 201

    def configure(self, policy: str) -> None:
        """Put another policy in force in the process that runs."""
        self.sidecar.configure(gate={"on_error": POLICIES[policy]}, **self._always, **self._settings)
        assert self.sidecar.reload().status == 200

    @contextlib.contextmanager
    def running(self, program: tuple[str, ...]) -> Iterator[None]:
        """Let another program run in the sidecar's place until the block ends."""
        self.restart(program)
        try:
            yield
        finally:
            self.restart(self.product)
            self.sidecar.wait_ready()

    def restart(self, program: tuple[str, ...]) -> None:
        """Kill what runs, if anything does, and start a program; it need not become ready."""
        if self.sidecar.is_running:
            self.sidecar.end()
        self.sidecar.program = program
        self.sidecar.launch(*QUIET)
        patience.until(lambda: self.sidecar.get("/-/healthy").status == 200, seconds=20)

    def refused(self) -> None:
        """See a delivery turned away."""
        with meta.of(self.sidecar) as sender:
            assert sender.error(131031).status == 503

    @contextlib.contextmanager
    def unloaded(self) -> Iterator[None]:
        with self.running(ailing.program(Fault.UNLOADED)):
            assert self.sidecar.get("/-/ready").status == 503
            yield

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        with self.running(ailing.program(Fault.GATE_FAILS)):
            self.sidecar.wait_ready()
            yield

    @contextlib.contextmanager
    def behind(self) -> Iterator[None]:
        with self.running(ailing.program(Fault.BEHIND)), meta.of(self.sidecar) as sender:
            self.sidecar.wait_ready()
            assert sender.error(368, number=FREE).status == 200
            yield
            assert self.sidecar.metric("whatsapp_monitor_journal_lag_events") > 0
        self.sidecar.settle()  # ready does not mean that what waited has taken effect
        for pause in self.sidecar.get("/v1/pauses").json()["pauses"]:
            if pause["rule"] == "policy_block":
                assert self.sidecar.post(f"/v1/pauses/{pause['id']}/resume", **ACT).status == 200

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(self.sidecar.database, isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            self.refused()
            yield
            stranger.execute("ROLLBACK")

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        log = self._folder / f"full.{time.monotonic_ns()}"
        with self.running((*syscalls.failing("pwrite64", "ENOSPC", "40+", self.sidecar.database, log), *self.product)):
            self.sidecar.wait_ready()
            with meta.of(self.sidecar) as sender:
                patience.until(lambda: sender.post(meta.delivery(f"wamid.{time.monotonic_ns()}")).status == 503)
            yield

    @contextlib.contextmanager
    def moved(self) -> Iterator[None]:
        aside = self._folder / "moved"
        self.sidecar.database.rename(aside)
        self.refused()
        yield
        aside.rename(self.sidecar.database)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        dead = f"http://127.0.0.1:{ports.free()}"
        self._settings = {
            "forward": [{"name": "app", "url": dead}],
            "alerts": {"alertmanagers": [{"url": dead}], "webhooks": [{"url": dead}]},
            "tracing": {"endpoint": dead},
        }
        before = self.sidecar.config_file.read_text(encoding="utf-8")
        policy = "opened" if "allow" in before else "default"
        self.sidecar.configure(gate={"on_error": POLICIES[policy]}, **self._always, **self._settings)
        self.restart(self.product)
        self.sidecar.wait_ready()
        with meta.of(self.sidecar) as sender:
            assert sender.post(meta.delivery(f"wamid.{time.monotonic_ns()}")).status == 200
        yield
        self._settings = {}
        self.sidecar.config_file.write_text(before, encoding="utf-8")
        self.restart(self.product)
        self.sidecar.wait_ready()

    @contextlib.contextmanager
    def forgotten(self) -> Iterator[None]:
        self.sidecar.kill()
        for file in self.sidecar.directory.glob("monitor.db*"):
            file.unlink()
        self.restart(self.product)
        self.sidecar.wait_ready()
        yield
        self.hold()

    @contextlib.contextmanager
    def broken(self, call: str, error: str, when: str) -> Iterator[None]:
        log = self._folder / f"broken.{time.monotonic_ns()}"
        self.sidecar.kill()
        self.sidecar.program = (*syscalls.failing(call, error, when, self.sidecar.database, log), *self.product)
        self.sidecar.launch(*QUIET)
        with meta.of(self.sidecar) as sender, sender.flooding(Traffic(1, log.name).delivery, threads=1):
            assert self.sidecar.wait() == 1
        yield
        self.restart(self.product)
        self.sidecar.wait_ready()

    @contextlib.contextmanager
    def dead(self) -> Iterator[None]:
        self.sidecar.kill()
        yield
        self.restart(self.product)
        self.sidecar.wait_ready()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        self.sidecar.signal(signal.SIGSTOP)
        yield
        self.sidecar.signal(signal.SIGCONT)
        patience.until(lambda: self.sidecar.get("/-/ready").status == 200)

    def asked_directly(
        self, policy: str, fault: Callable[[], AbstractContextManager[None]], *, is_silent: bool
    ) -> Found:
        """Ask the gate while a fault lasts; see it count what was heard."""
        with fault():
            before = Counter() if is_silent else self._counted()
            found = asked(policy, functools.partial(_gate, self.sidecar.web_port))
            heard = Counter(("allow" if one.allow else "deny", one.reason) for many in found.values() for one in many)
            if not is_silent:
                patience.until(lambda: self._counted() - before == heard, seconds=5)
        return found

    def asked_of_a_follower(self, policy: str, fault: Callable[[], AbstractContextManager[None]], row: Row) -> Found:
        """Ask a follower who met the sidecar before the fault, or did not, until it answers as that does."""
        is_new = row.reason == "not_connected"
        stale_seconds = STALE_SECONDS if row.reason == "stale" else 60.0
        told = {"recipient": PERSON} if row.reason == "unreachable" else {}
        port = ports.free() if row.fault == "the sidecar was never reached" else self.sidecar.web_port
        with ExitStack() as stack:
            if is_new:
                stack.enter_context(fault())
            gate = Gate(f"http://127.0.0.1:{port}", on_error=POLICIES[policy], stale_seconds=stale_seconds)
            stack.callback(gate.close)
            gate.start(0.3 if is_new else 10.0)
            if not is_new:
                stack.enter_context(fault())
            if row.told == Told.ON_ERROR:
                patience.until(lambda: gate.check(phone_number_id=FREE, **told).reason == row.reason)
            if row.told == Told.FORGOTTEN:
                patience.until(lambda: gate.check(phone_number_id=NUMBER).allow)
            return asked(policy, functools.partial(_follower, gate, told))

    def asked_through_nginx(self, policy: str, fault: Callable[[], AbstractContextManager[None]], conf: str) -> Found:
        """Send through nginx to a stand-in for Graph."""
        folder = self._folder / f"nginx.{time.monotonic_ns()}"
        folder.mkdir()
        replaced = {
            "127.0.0.1:9368": f"127.0.0.1:{self.sidecar.web_port}",
            "https://graph.facebook.com": self._graph.url,
            "proxy_ssl_server_name on;": "",
        }
        with nginx.running(NGINX_FOLDER / conf, folder, replaced) as port, fault():
            return asked(policy, functools.partial(_sent, port, ""))

    def asked_through_the_proxy(self, policy: str, fault: Callable[[], AbstractContextManager[None]]) -> Found:
        """Send through the egress proxy to a stand-in for Graph."""
        with fault():
            return asked(policy, functools.partial(_sent, self.sidecar.web_port, "/graph"))

    def _counted(self) -> Counter[tuple[str, str]]:
        """Return how often the gate has given each verdict, but for 0."""
        page = self.sidecar.metrics().of(CHECKS, via="check")
        return Counter({(one["verdict"], one["reason"]): int(value) for one, value in page})


def _gate(port: int, number: str, told: dict[str, str]) -> Seen:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", f"/v1/gate?{urlencode({'phone_number_id': number, **told})}")
        answer = exchange.answer(connection.getresponse())
    except (OSError, http.client.HTTPException):
        return Seen(None)
    finally:
        connection.close()
    assert answer.status == (200 if answer.json()["allow"] else 403)
    return Seen(answer.json()["allow"], answer.json()["reason"])


def _follower(gate: Gate, always: dict[str, str], number: str, told: dict[str, str]) -> Seen:
    answer = gate.check(phone_number_id=number, **always, **told)
    return Seen(answer.allow, answer.reason)


def _sent(port: int, prefix: str, number: str, told: dict[str, str]) -> Seen:
    headers = {f"X-Gate-{name.capitalize()}": value for name, value in told.items()}
    answer = exchange.ask(port, "POST", f"{prefix}/v23.0/{number}/messages", MESSAGE, headers)
    if answer.status == 500:
        return Seen(None, "500")
    assert answer.status in {200, 403}
    return Seen(answer.status == 200, answer.headers.get("x-gate-reason", "").partition(";")[0])


def asked(policy: str, ask: Asking) -> Found:
    """Ask for each lane and both numbers, all at once."""
    asking = [(lane, number, told) for lane, asks in LANES.items() for number in (NUMBER, FREE) for told in asks]
    found: Found = {(policy, lane, number): [] for lane, number, _ in asking}
    with ThreadPoolExecutor(len(asking)) as threads:
        answers = threads.map(lambda one: ask(*one[1:]), asking)
        for (lane, number, _), answer in zip(asking, answers, strict=True):
            found[policy, lane, number].append(answer)
    return found


FAULTS: dict[str, Callable[[Bench], AbstractContextManager[None]]] = {
    "what stands is not loaded yet": Bench.unloaded,
    "its own code fails": Bench.failing,
    "the gate's own code fails": Bench.failing,
    "the store is locked by a stranger": Bench.locked,
    "the store's disk is full": Bench.full,
    "the store's file was moved away": Bench.moved,
    "accepted webhooks have not taken effect yet": Bench.behind,
    "Alertmanager, forwards and collector are dead": Bench.alone,
    "the store is new and empty": Bench.forgotten,
    "the store fails: it ends": lambda bench: bench.broken("fdatasync", "EIO", "3+"),
    "the store's disk turns read-only: it ends": lambda bench: bench.broken("pwrite64", "EROFS", "40+"),
    "dead": Bench.dead,
    "dead for longer than `stale_seconds`": Bench.dead,
    "dead, where only it can tell": Bench.dead,
    "dead for a moment": Bench.dead,
    "stopped, or too slow": Bench.stopped,
    "stopped for longer than `stale_seconds`": Bench.stopped,
    "the sidecar was never reached": lambda _: contextlib.nullcontext(),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("lanes")
    with Graph() as graph, Sidecar(folder, graph={"url": graph.url}) as sidecar:
        sidecar.start(*QUIET)
        made = Bench(sidecar, graph, folder)
        made.hold()
        yield made


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: row.name)
def seen(request: pytest.FixtureRequest, bench: Bench) -> tuple[Row, Found]:
    """Return a row and all that was answered while its fault lasted, under both policies."""
    row: Row = request.param
    fault = functools.partial(FAULTS[row.fault], bench)
    found: Found = {}
    for policy in POLICIES:
        bench.configure(policy)
        if row.asked == GATE:
            found |= bench.asked_directly(policy, fault, is_silent=row.told == Told.SILENT)
        elif row.asked == PROXY:
            found |= bench.asked_through_the_proxy(policy, fault)
        elif row.asked == FOLLOWER:
            found |= bench.asked_of_a_follower(policy, fault, row)
        else:
            found |= bench.asked_through_nginx(policy, fault, row.asked.strip("`"))
    return row, found


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("lane", LANES)
def test_a_lane_is_answered_under_a_fault_as_documented(seen: tuple[Row, Found], lane: str, policy: str) -> None:
    row, found = seen

    for number in (NUMBER, FREE):
        assert found[policy, lane, number] == [wanted(row, lane, policy, number)] * len(LANES[lane])


def wanted(row: Row, lane: str, policy: str, number: str) -> Seen:
    """Return what the table says."""
    is_untold = row.asked not in {GATE, FOLLOWER}  # why a send is allowed is told to nobody
    match row.told:
        case Told.STANDS:
            return (
                Seen(False, "paused_phone_number")
                if number == NUMBER
                else Seen(True, "" if is_untold else "not_paused")
            )
        case Told.ON_ERROR:
            is_open = lanes.is_open(lane, policy)
            return Seen(is_open, "" if is_untold and is_open else row.reason)
        case Told.FORGOTTEN:
            return Seen(True, "not_paused")
        case Told.SILENT:
            return Seen(None)
        case Told.CLOSED:
            return Seen(None, "500")
        case Told.OPEN:
            return Seen(True)


def test_who_asks_sees_a_pause_and_its_absence(bench: Bench) -> None:
    """The other arm: without a fault."""
    bench.configure("opened")

    found = asked("opened", functools.partial(_gate, bench.sidecar.web_port))

    assert {one for (_, _, number), many in found.items() for one in many if number == NUMBER} == {
        Seen(False, "paused_phone_number")
    }
    assert {one for (_, _, number), many in found.items() for one in many if number == FREE} == {
        Seen(True, "not_paused")
    }
