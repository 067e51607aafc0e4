"""SIGTERM under load, with each dependency dead in turn: nothing that was under way is cut, and it is over in time."""

import contextlib
import http.client
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness import answers, exchange, meta, mounts, oracle, patience
from tests.harness.meta import NUMBER, Traffic
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target
from tests.harness.wire import Wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

EXIT_SECONDS = 8.0
LATE_SECONDS = 1.5  # for a machine that others use too
LOCKED_SECONDS = 3.0  # until a request is answered that waits for a lock
AT_ONCE_SECONDS = 0.5  # on a machine that others use too
DELAY_SECONDS, DEFAULT_DELAY_SECONDS = 1.0, 5.0
MARGIN_SECONDS = 0.2  # what is sent as the listeners close may still be on its way
LOAD_SECONDS = 0.4
SENDERS = 2
DISK_BYTES = 24 * 1024 * 1024
SEND = b'{"messaging_product": "whatsapp", "to": "15550000001", "type": "text", "text": {"body": "hello"}}'


@dataclass
class Sent:
    """What became of each request: when it began, and its status, 0 where none came."""

    outcomes: list[tuple[float, bytes, int]] = field(default_factory=list)
    ready: list[tuple[float, int]] = field(default_factory=list)


@contextlib.contextmanager
def load(sidecar: Sidecar, sent: Sent) -> Iterator[None]:
    """Deliver over kept and over new connections, and ask whether it is ready, until the listeners close."""
    stop = threading.Event()
    traffic = Traffic(1, "leaving")

    def deliver(is_kept: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", sidecar.webhook_port, timeout=10)
        while not stop.is_set():
            body, began_at, status = traffic.delivery(), time.monotonic(), 0
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", meta.PATH, body, meta.signed(body))
                status = exchange.answer(connection.getresponse()).status
            sent.outcomes.append((began_at, body, status))
            if not is_kept or not status:
                connection.close()
            stop.wait(0.01)
        connection.close()

    def ask() -> None:
        while not stop.is_set():
            began_at = time.monotonic()
            with contextlib.suppress(OSError):
                sent.ready.append((began_at, sidecar.get("/-/ready").status))
            stop.wait(0.02)

    threads = [threading.Thread(target=deliver, args=(number % 2 == 0,)) for number in range(SENDERS)]
    threads.append(threading.Thread(target=ask))
    for one in threads:
        one.start()
    try:
        yield
    finally:
        stop.set()
        for one in threads:
            one.join()


@dataclass
class Cell:
    """One dependency that is dead: how it is configured, how its death begins, and what is seen of it at the end."""

    settings: dict[str, Any] = field(default_factory=dict)
    begin: Callable[[Sidecar], None] = lambda _: None
    check: Callable[[], None] = lambda: None
    folder: Path | None = None


Making = Callable[[contextlib.ExitStack, Path], Cell]


def mute(stack: contextlib.ExitStack) -> str:
    """Return where somebody lets connect and says nothing."""
    return f"http://127.0.0.1:{stack.enter_context(Wire(1, 'half_open')).port}"


def down(stack: contextlib.ExitStack) -> str:
    """Return where nobody listens."""
    return f"http://127.0.0.1:{stack.enter_context(Wire(1, 'refusing')).port}"


def dripping(stack: contextlib.ExitStack) -> str:
    """Return where an answer takes for ever."""
    target = stack.enter_context(Target())
    target.script = answers.dripping_body
    return target.url


def alert(sidecar: Sidecar) -> None:
    """Let there be something to tell."""
    with meta.of(sidecar) as sender:
        assert sender.error(368).status == 200
    patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)


def application(where: Callable[[contextlib.ExitStack], str]) -> Making:
    return lambda stack, _: Cell({"forward": [{"name": "app", "url": where(stack)}]})


def alertmanager(where: Callable[[contextlib.ExitStack], str]) -> Making:
    return lambda stack, _: Cell({"alerts": {"alertmanagers": [{"url": where(stack)}]}}, alert)


def collector(where: Callable[[contextlib.ExitStack], str]) -> Making:
    return lambda stack, _: Cell({"tracing": {"endpoint": where(stack), "sample": {"default": 1.0}}})


def receiver(stack: contextlib.ExitStack, _: Path) -> Cell:
    return Cell({"alerts": {"webhooks": [{"url": dripping(stack)}]}}, alert)


def service(stack: contextlib.ExitStack, _: Path) -> Cell:
    url = mute(stack).replace("http:", "json:")
    return Cell({"alerts": {"apprise": [{"url": f"{url}/?rto=30&cto=30"}]}}, alert)


def everything(stack: contextlib.ExitStack, folder: Path) -> Cell:
    settings = application(mute)(stack, folder).settings | collector(mute)(stack, folder).settings
    alerts = {"alertmanagers": [{"url": mute(stack)}], "webhooks": [{"url": dripping(stack)}]}
    return Cell({**settings, "alerts": alerts}, alert)


def graph(stack: contextlib.ExitStack, _: Path) -> Cell:
    """A send that is under way stays without Graph's answer, and has one of ours."""
    statuses: list[int] = []
    sending: list[threading.Thread] = []

    def begin(sidecar: Sidecar) -> None:
        def send() -> None:
            path, headers = f"/graph/v23.0/{NUMBER}/messages", {"Content-Type": "application/json"}
            statuses.append(exchange.ask(sidecar.web_port, "POST", path, SEND, headers).status)

        sending.append(threading.Thread(target=send))
        sending[0].start()

    def check() -> None:
        sending[0].join()
        assert statuses == [504]

    return Cell({"graph": {"url": mute(stack)}}, begin, check)


def full_disk(stack: contextlib.ExitStack, folder: Path) -> Cell:
    disk = folder / "disk"
    disk.mkdir()
    mounts.mount(disk, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs")
    stack.callback(mounts.unmount, disk, is_lazy=True)

    def begin(_: Sidecar) -> None:
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 65_536)

    return Cell({}, begin, folder=disk)


def locked(stack: contextlib.ExitStack, _: Path) -> Cell:
    def begin(sidecar: Sidecar) -> None:
        stranger = stack.enter_context(contextlib.closing(sqlite3.connect(sidecar.database, isolation_level=None)))
        stranger.execute("BEGIN IMMEDIATE")
        stack.callback(stranger.execute, "ROLLBACK")

    return Cell({}, begin)


def idle(stack: contextlib.ExitStack, _: Path) -> Cell:
    """Connections that were used and are kept are closed in order: an end, no reset."""
    kept: list[socket.socket] = []

    def begin(sidecar: Sidecar) -> None:
        for number in range(20):
            connection = socket.create_connection(("127.0.0.1", sidecar.webhook_port), timeout=10)
            kept.append(stack.enter_context(connection))
            body = meta.delivery(f"wamid.idle.{number}")
            connection.sendall(meta.head(meta.line(body), length=len(body)) + body)
            assert exchange.hear(connection).status == 200

    def check() -> None:
        assert [connection.recv(1) for connection in kept] == [b""] * len(kept)

    return Cell({}, begin, check)


def half_body(stack: contextlib.ExitStack, _: Path) -> Cell:
    """A body that never ends holds nobody up."""
    kept: list[socket.socket] = []

    def begin(sidecar: Sidecar) -> None:
        body = meta.delivery("wamid.half")
        connection = socket.create_connection(("127.0.0.1", sidecar.webhook_port), timeout=10)
        kept.append(stack.enter_context(connection))
        connection.sendall(meta.head(meta.line(body), length=len(body)) + body[:-10])

    def check() -> None:
        assert exchange.hear(kept[0]).status == 408

    return Cell({}, begin, check)


CELLS: dict[str, tuple[Making, float]] = {
    "application_mute": (application(mute), DELAY_SECONDS),
    "application_down": (application(down), DELAY_SECONDS),
    "alertmanager_mute": (alertmanager(mute), DELAY_SECONDS),
    "alertmanager_down": (alertmanager(down), DELAY_SECONDS),
    "collector_mute": (collector(mute), DELAY_SECONDS),
    "collector_down": (collector(down), DELAY_SECONDS),
    "receiver_dripping": (receiver, DELAY_SECONDS),
    "service_mute": (service, DELAY_SECONDS),
    "graph_mute": (graph, DELAY_SECONDS),
    "disk_full": (full_disk, DELAY_SECONDS),
    "store_locked": (locked, DEFAULT_DELAY_SECONDS),
    "idle_connections": (idle, DELAY_SECONDS),
    "half_body": (half_body, DEFAULT_DELAY_SECONDS),
    "everything_mute": (everything, DEFAULT_DELAY_SECONDS),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.root] if name == "disk_full" else []) for name in CELLS]
)
def test_who_leaves_says_so_finishes_what_is_under_way_and_is_gone_in_time(tmp_path: Path, name: str) -> None:
    making, delay_seconds = CELLS[name]
    sent = Sent()
    with contextlib.ExitStack() as stack:
        cell = making(stack, tmp_path)
        sidecar = stack.enter_context(Sidecar(cell.folder or tmp_path, **cell.settings))
        sidecar.start("--shutdown.delay", f"{delay_seconds:g}s")
        with load(sidecar, sent):
            patience.until(lambda: len(sent.outcomes) > 20)
            cell.begin(sidecar)
            time.sleep(LOAD_SECONDS)
            left_at = time.monotonic()
            sidecar.signal(signal.SIGTERM)
            code = sidecar.wait()
            seconds = time.monotonic() - left_at
        cell.check()
        found = sidecar.oracle()
    closes_at = left_at + delay_seconds - MARGIN_SECONDS

    sys.stdout.write(f"\n{name}: gone after {seconds:.1f} s, with a delay of {delay_seconds:g} s\n")
    assert code == 0
    assert seconds <= EXIT_SECONDS + LATE_SECONDS
    ready = [status for _, status in sent.ready]
    assert ready[0] == 200
    assert set(ready[ready.index(503) :]) == {503}
    assert next(at for at, status in sent.ready if status == 503) < left_at + AT_ONCE_SECONDS
    answered = [(at, body, status) for at, body, status in sent.outcomes if status]
    assert max(at for at, status in sent.ready if status) > closes_at - AT_ONCE_SECONDS
    assert max(at for at, *_ in answered) > closes_at - (LOCKED_SECONDS if name == "store_locked" else AT_ONCE_SECONDS)
    assert [at - left_at for at, _, status in sent.outcomes if not status and at < closes_at] == []
    assert {status for *_, status in answered} <= {200, 503}
    assert oracle.lost([body for _, body, status in answered if status == 200], found) == set()
    assert "Traceback" not in sidecar.log
