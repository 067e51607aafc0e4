"""Load on loopback: wrk for as fast as it goes, and a client of our own for a fixed rate."""

import asyncio
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
CONNECTIONS = 64


class Load(msgspec.Struct, frozen=True):
    """What a load saw; latencies in milliseconds."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def post(url: str, deliveries: Path, seconds: int, connections: int = CONNECTIONS, niceness: int = 0) -> Load:
    """Post signed deliveries as fast as they are answered."""
    path = "/" + url.split("/", 3)[3]
    return _wrk(url, HERE / "post.lua", seconds, connections, [str(deliveries), "2", path], niceness)


def get(url: str, seconds: int) -> Load:
    """Get one URL as fast as it is answered."""
    return _wrk(url, HERE / "get.lua", seconds, CONNECTIONS, [])


def send(url: str, seconds: int, connections: int) -> Load:
    """Post a message again and again."""
    return _wrk(url, HERE / "send.lua", seconds, connections, [])


async def steady(port: int, requests: Sequence[bytes], rate: int) -> Load:
    """Send requests at a fixed rate, whatever the answers do; latency counts from when each was due."""
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    latencies: list[float] = []
    errors = 0

    async def connection() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (item := await due.get()) is not None:
            at, request = item
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            latencies.append(time.perf_counter() - at)
            errors += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    workers = [asyncio.create_task(connection()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.1)
    started_at = time.perf_counter()
    for number, request in enumerate(requests):
        at = started_at + number / rate
        if (wait := at - time.perf_counter()) > 0.0005:
            await asyncio.sleep(wait)
        due.put_nowait((at, request))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    seconds = time.perf_counter() - started_at
    latencies.sort()
    return Load(len(latencies), seconds, errors, percentile(latencies, 0.5) * 1000, percentile(latencies, 0.99) * 1000)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _wrk(url: str, script: Path, seconds: int, connections: int, arguments: list[str], niceness: int = 0) -> Load:
    command = [
        "nice",
        f"-n{niceness}",
        "wrk",
        f"-t{min(2, connections)}",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(script),
        url,
    ]
    done = subprocess.run([*command, "--", *arguments], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, microseconds, errors, p50, p99, _ = map(int, line.split()[1:])
    return Load(requests, microseconds / 1e6, errors, p50 / 1000, p99 / 1000)
