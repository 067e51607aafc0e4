"""Signed deliveries in a file for wrk: each body different, as Meta's are."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from monitor import payloads, signature

SECRET = "bench-secret-0123456789"
NUMBER = "200000000000001"
NAMES = ("sent", "delivered", "read")
THROTTLED_EACH = 2


def write(path: Path, deliveries: int, statuses_each: int, started_at: float) -> None:
    """Write deliveries; each message goes through sent, delivered and read, in that order."""
    statuses = _statuses(started_at)
    changes = (
        payloads.change(NUMBER, statuses=[next(statuses) for _ in range(statuses_each)]) for _ in range(deliveries)
    )
    _write(path, changes)


def write_people(path: Path, deliveries: int, people_each: int, at: float) -> None:
    """Write deliveries of messages, every other of failed ones, of and to people who are never heard of again."""
    _write(path, (_strangers(number, people_each, at) for number in range(deliveries)))


def requests(path: Path) -> Iterator[bytes]:
    """Yield the whole HTTP request of each delivery in a file."""
    with path.open("rb") as lines:
        for line in lines:
            claimed, _, body = line.rstrip(b"\n").partition(b"\t")
            head = (
                b"POST /webhook HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                b"X-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n" % (claimed, len(body))
            )
            yield head + body


def _write(path: Path, changes: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="ascii") as file:
        for change in changes:
            body = payloads.delivery(change)
            file.write(f"{signature.sign(body, SECRET.encode())}\t{body.decode('ascii')}\n")


def _strangers(number: int, count: int, at: float) -> dict[str, Any]:
    people = [f"1555{number * count + one:09d}" for one in range(count)]
    if number % THROTTLED_EACH:
        return payloads.change(NUMBER, messages=[payloads.message(f"wamid.in.{one}", at, sender=one) for one in people])
    failed = [payloads.status(f"wamid.{one}", "failed", at, recipient=one, codes=(131056,)) for one in people]
    return payloads.change(NUMBER, statuses=failed)


def _statuses(started_at: float) -> Iterator[dict[str, object]]:
    number = 0
    while True:
        for offset, name in enumerate(NAMES):
            for message in range(number, number + 100):
                wamid = f"wamid.HBgLMTU1NTAwMDAwMDEVAgARGBI{message:024d}"
                yield payloads.status(wamid, name, started_at + offset, recipient=f"1555{message % 10**7:07d}")
        number += 100
