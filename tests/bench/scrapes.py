"""How long a scrape of five thousand series keeps the gate waiting: `python -m tests.bench.scrapes`, half a minute.

The scraper is a process of its own, so that what shows is what the sidecar does for it.
"""

import http.client
import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec

from monitor import payloads
from tests.bench import load
from tests.harness import meta
from tests.harness.meta import Meta
from tests.harness.sidecar import Sidecar

SERIES, SECONDS, EVERY_SECONDS = 5_000, 10.0, 1.05  # a page is kept for a second


class Asked(msgspec.Struct, frozen=True):
    """Milliseconds that the gate took to answer, one ask after the other."""

    p50: float
    p99: float
    longest: float


def measure() -> tuple[int, Asked, Asked]:
    """Return how many series there are, and how the gate answers without scrapes and with one a second."""
    with tempfile.TemporaryDirectory() as name, Sidecar(Path(name)) as sidecar, meta.of(sidecar) as sender:
        sidecar.start("--log.level", "warning")
        count = _filled(sidecar, sender)
        alone = _asked(sidecar.web_port)
        stop = multiprocessing.Event()
        scraper = multiprocessing.Process(target=_scrape, args=(sidecar.web_port, stop))
        scraper.start()
        try:
            return count, alone, _asked(sidecar.web_port)
        finally:
            stop.set()
            scraper.join()


def _filled(sidecar: Sidecar, sender: Meta) -> int:
    number = 0
    while (count := _count(sidecar)) < SERIES:
        for _ in range(5):
            number += 1
            status = payloads.status(f"wamid.{number}", "sent", time.time())
            sender.statuses(status, number=f"4000000000{number:05d}", waba_id=f"5000000000{number % 5:05d}")
        sidecar.settle()
        time.sleep(EVERY_SECONDS)
        if number > SERIES:
            raise AssertionError(f"only {count} series")
    return count


def _count(sidecar: Sidecar) -> int:
    return sum(not line.startswith("#") for line in sidecar.get("/metrics").body.decode().splitlines())


def _asked(port: int) -> Asked:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    found, end = [], time.perf_counter() + SECONDS
    while (started_at := time.perf_counter()) < end:
        connection.request("GET", "/v1/gate/400000000000001")
        connection.getresponse().read()
        found.append((time.perf_counter() - started_at) * 1000)
    connection.close()
    found.sort()
    return Asked(load.percentile(found, 0.5), load.percentile(found, 0.99), found[-1])


def _scrape(port: int, stop: Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not stop.wait(EVERY_SECONDS):
        connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
        connection.getresponse().read()


def main() -> None:
    """Measure, and print."""
    count, alone, scraped = measure()
    print(f"{count:,} series; the gate without scrapes {alone}, with one a second {scraped}")


if __name__ == "__main__":
    main()
