"""Floods of the public listener, each over after some seconds: of what Meta sends, and of what anybody may."""

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from monitor import payloads
from tests.bench import load, workload
from tests.harness import exchange, meta
from tests.harness.sidecar import Sidecar

SINGLES, BATCHES, BATCH, AGAIN, PEOPLE = 60_000, 1_500, 100, 100, 3_000
HALF, HALF_BYTES = 60, 3_000_000
IDLE, SLOW, AT_ONCE = 2_000, 500, 400
OVER = 4 * 1024 * 1024 + 1
LINES = 100_000
NICENESS = 15  # a flood comes from other machines: it takes what cores the sidecar leaves


def singles(sidecar: Sidecar, folder: Path, seconds: float) -> None:
    """Deliver one status at a time, as fast as they are answered."""
    _post(sidecar, _deliveries(folder / "singles", SINGLES, 1), seconds)


def batches(sidecar: Sidecar, folder: Path, seconds: float) -> None:
    """Deliver a hundred statuses at a time, as fast as they are answered."""
    _post(sidecar, _deliveries(folder / "batches", BATCHES, BATCH), seconds)


def replays(sidecar: Sidecar, folder: Path, seconds: float) -> None:
    """Deliver the same again and again."""
    _post(sidecar, _deliveries(folder / "replays", AGAIN, 1), seconds)


def bad_signatures(sidecar: Sidecar, folder: Path, seconds: float) -> None:
    """Post what nobody signed."""
    path = folder / "bad"
    if not path.exists():
        lines = _deliveries(folder / "bad.made", AGAIN, 1).read_text(encoding="ascii").splitlines()
        path.write_text("".join(f"sha256={'0' * 64}\t{line.split(chr(9), 1)[1]}\n" for line in lines), encoding="ascii")
    _post(sidecar, path, seconds)


def half_bodies(sidecar: Sidecar, _folder: Path, seconds: float) -> None:
    """Send large bodies and never their ends."""
    body = b"x" * (HALF_BYTES - 1)
    with connected(sidecar.webhook_port, HALF) as connections:
        for connection in connections:
            connection.settimeout(0.2)
            with contextlib.suppress(OSError):
                connection.sendall(meta.head(meta.line(b""), length=HALF_BYTES) + body)
        time.sleep(seconds)


def slow_clients(sidecar: Sidecar, _folder: Path, seconds: float) -> None:
    """Hold connections that say nothing, half a head, or a body a byte at a time."""
    with connected(sidecar.webhook_port, IDLE + 2 * SLOW) as connections:
        dripping = connections[:SLOW]
        for connection in connections[SLOW : 2 * SLOW]:
            connection.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-A")
        for connection in dripping:
            connection.sendall(meta.head(meta.line(b""), length=1_000))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for connection in dripping:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")
            time.sleep(0.2)


def connections(sidecar: Sidecar, _folder: Path, seconds: float) -> None:
    """Connect and leave without a word, so many at once."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with connected(sidecar.webhook_port, AT_ONCE):
            pass


def oversizes(sidecar: Sidecar, _folder: Path, seconds: float) -> None:
    """Send bodies that are too large, declared or in pieces, and heads without end."""
    piece = b"%x\r\n%s\r\n" % (65_536, b"x" * 65_536)
    declared = [meta.head(meta.line(b""), length=OVER), b"x" * OVER]
    chunked = [meta.head(meta.line(b""), "Transfer-Encoding: chunked"), *[piece] * (OVER // 65_536 + 1), b"0\r\n\r\n"]
    heads = [meta.head().removesuffix(b"\r\n"), *[b"X-A: b\r\n" * 1_000] * (LINES // 1_000), b"\r\n"]
    end = time.monotonic() + seconds
    for pieces, status in itertools.cycle([(declared, 413), (chunked, 413), (heads, 431)]):
        if time.monotonic() > end:
            break
        with contextlib.suppress(OSError):  # who goes on sending after the answer may see a reset instead of it
            assert exchange.raw(sidecar.webhook_port, pieces).status == status


def made_up(sidecar: Sidecar, _folder: Path, seconds: float) -> None:
    """Deliver what somebody with the secret makes up: accounts, numbers, codes, statuses, each once."""
    end, serial = time.monotonic() + seconds, itertools.count()
    with meta.of(sidecar) as sender:
        while time.monotonic() < end:
            number = next(serial)
            made = [
                payloads.status(f"wamid.{number}.{one}", f"word{number}", time.time(), codes=(10_000 + number,))
                for one in range(20)
            ]
            change = payloads.change(f"2000{number:011d}", statuses=made)
            assert sender.post(payloads.delivery(change, waba_id=f"1000{number:011d}")).status == 200


def people(sidecar: Sidecar, folder: Path, seconds: float) -> None:
    """Deliver what hundreds of thousands of people write, and that tens of thousands of pairs are throttled."""
    path = folder / "people"
    if not path.exists():
        workload.write_people(path, PEOPLE, BATCH, time.time())
    _post(sidecar, path, seconds)


Flood = Callable[[Sidecar, Path, float], None]
ALL: tuple[Flood, ...] = (
    singles, batches, replays, bad_signatures, half_bodies, slow_clients, connections, oversizes, made_up, people,
)  # fmt: skip


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Hold so many connections."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), exchange.TIMEOUT_SECONDS))
            for _ in range(count)
        ]


def _deliveries(path: Path, count: int, statuses_each: int) -> Path:
    if not path.exists():
        workload.write(path, count, statuses_each, time.time())
    return path


def _post(sidecar: Sidecar, deliveries: Path, seconds: float) -> None:
    load.post(sidecar.webhook_url, deliveries, int(seconds), niceness=NICENESS)
