"""Troubles that befall a running sidecar, each over in some seconds and each leaving it as it found it."""

import contextlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from monitor import payloads
from tests.harness import exchange, meta, patience
from tests.harness.alertmanager import Alertmanager
from tests.harness.meta import Meta
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

IDLE, SLOW, MADE_UP = 1_000, 40, 2_000


@dataclass(frozen=True)
class Scene:
    """A sidecar under traffic, and what it speaks to; `settings` are the configuration that is right."""

    sidecar: Sidecar
    target: Target
    alertmanager: Alertmanager
    settings: dict[str, Any]
    chance: random.Random
    seconds: float

    def wait(self) -> None:
        """Let a trouble last."""
        time.sleep(self.seconds)


def kill(scene: Scene) -> None:
    """SIGKILL, and a start."""
    scene.sidecar.kill()
    scene.sidecar.start("--log.level", "error")


def stop(scene: Scene) -> None:
    """SIGTERM, and a start."""
    assert scene.sidecar.terminate() == 0
    scene.sidecar.start("--log.level", "error")


def freeze(scene: Scene) -> None:
    """The process stands still."""
    scene.sidecar.signal(signal.SIGSTOP)
    scene.wait()
    scene.sidecar.signal(signal.SIGCONT)


def broken_reloads(scene: Scene) -> None:
    """Rules that are not there, many times a second; then the right ones."""
    scene.sidecar.configure(**{**scene.settings, "rules": {"files": ["absent.yml"]}})
    for _ in range(30):
        scene.sidecar.signal(signal.SIGHUP)
        time.sleep(0.02)
    scene.sidecar.configure(**scene.settings)
    patience.until(lambda: scene.sidecar.reload().status == 200, seconds=60)


def target_down(scene: Scene) -> None:
    """The application refuses connections."""
    scene.target.down()
    scene.wait()
    scene.target.up()


def target_refuses(scene: Scene) -> None:
    """The application answers 500."""
    scene.target.status = 500
    scene.wait()
    scene.target.status = 200


def target_slow(scene: Scene) -> None:
    """The application takes its time."""
    scene.target.delay_seconds = 0.5
    scene.wait()
    scene.target.delay_seconds = 0.0


def alertmanager_down(scene: Scene) -> None:
    """Nobody takes alerts."""
    scene.alertmanager.down()
    scene.wait()
    scene.alertmanager.up()


def locked(scene: Scene) -> None:
    """A stranger holds the store's file."""
    with contextlib.closing(sqlite3.connect(scene.sidecar.database, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        scene.wait()
        stranger.execute("ROLLBACK")


def idle_connections(scene: Scene) -> None:
    """Many connect and say nothing."""
    with _connected(scene.sidecar.webhook_port, IDLE):
        scene.wait()


def slow_bodies(scene: Scene) -> None:
    """Some send large bodies, and never their ends."""
    body = payloads.delivery()
    with _connected(scene.sidecar.webhook_port, SLOW) as connections:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(meta.head(meta.line(body), length=3_000_000) + b"x" * 100_000)
        scene.wait()


def bad_signatures(scene: Scene) -> None:
    """Somebody posts what nobody signed, as fast as it goes."""
    end = time.monotonic() + scene.seconds
    headers = meta.signed(b"something else")
    while time.monotonic() < end:
        assert exchange.ask(scene.sidecar.webhook_port, "POST", meta.PATH, b"{}", headers).status == 401


def made_up(scene: Scene) -> None:
    """Somebody who knows the secret makes up numbers, templates and codes."""
    with Meta(scene.sidecar.webhook_port) as sender:
        for number in range(0, MADE_UP, 20):
            made = [
                payloads.status(
                    f"wamid.made-up.{one}.{scene.chance.random()}", "failed", time.time(), codes=(900_000 + one,)
                )
                for one in range(number, number + 20)
            ]
            phone = f"{300_000_000_000_000 + scene.chance.randrange(10**6)}"
            sender.deliver(payloads.delivery(payloads.change(phone, statuses=made), waba_id=f"3{phone}"))


def busy_machine(scene: Scene) -> None:
    """Others take the processor."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    scene.wait()
    for process in busy:
        process.kill()
        process.wait()


def scrapes(scene: Scene) -> None:
    """Many scrape at once."""

    def scrape() -> None:
        for _ in range(5):
            assert scene.sidecar.get("/metrics").status == 200

    scrapers = [threading.Thread(target=scrape) for _ in range(8)]
    for one in scrapers:
        one.start()
    for one in scrapers:
        one.join()


def operator_acts(scene: Scene) -> None:
    """Somebody pauses another account and lets it go again."""
    waba, act = f"{100_000_000_000_900 + scene.chance.randrange(90)}", {"actor": "ann", "reason": "soak"}
    placed = scene.sidecar.post("/v1/pauses", scope="waba", scope_id=waba, **act)
    assert placed.status == 201, placed.body
    assert scene.sidecar.get(f"/v1/gate?waba_id={waba}").status == 403
    assert scene.sidecar.post(f"/v1/pauses/{placed.json()['pause']['id']}/resume", **act).status == 200


Trouble = Callable[[Scene], None]
ALL: tuple[Trouble, ...] = (
    kill, stop, freeze, broken_reloads, target_down, target_refuses, target_slow, alertmanager_down, locked,
    idle_connections, slow_bodies, bad_signatures, made_up, busy_machine, scrapes, operator_acts,
)  # fmt: skip
STOPPING = frozenset({kill, stop, freeze})  # while they last nobody answers


@contextlib.contextmanager
def _connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    connections = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()
