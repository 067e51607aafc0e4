"""Signed deliveries in a file for wrk: each body different, as Meta's are."""

from collections.abc import Iterator
from pathlib import Path

from monitor import payloads, signature

SECRET = "bench-secret-0123456789"
NUMBER = "200000000000001"
NAMES = ("sent", "delivered", "read")


def write(path: Path, deliveries: int, statuses_each: int, started_at: float) -> None:
    """Write deliveries; each message goes through sent, delivered and read, in that order."""
    statuses = _statuses(started_at)
    with path.open("w", encoding="ascii") as file:
        for _ in range(deliveries):
            items = [next(statuses) for _ in range(statuses_each)]
            body = payloads.delivery(payloads.change(NUMBER, statuses=items))
            file.write(f"{signature.sign(body, SECRET.encode())}\t{body.decode('ascii')}\n")


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


def _statuses(started_at: float) -> Iterator[dict[str, object]]:
    number = 0
    while True:
        for offset, name in enumerate(NAMES):
            for message in range(number, number + 100):
                wamid = f"wamid.HBgLMTU1NTAwMDAwMDEVAgARGBI{message:024d}"
                yield payloads.status(wamid, name, started_at + offset, recipient=f"1555{message % 10**7:07d}")
        number += 100
