"""What forwarding costs the receiving, and whether it keeps up: nginx is the application and answers 200 at once.

`python -m tests.bench.forwarding` takes two minutes and needs nginx and wrk.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop

from tests.bench import load, workload
from tests.harness import patience, ports
from tests.harness.sidecar import Sidecar

RATE, STEADY_SECONDS = 3_300, 20
ROUNDS, SECONDS = 3, 5
_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 10000000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }}
}}
"""


class Measured(msgspec.Struct, frozen=True):
    """Deliveries per second that are answered without and with a forward, and how far behind the forward is.

    `rates` are as fast as they are answered, the best of the rounds; `waiting` is what had not left when the last of
    a steady rate was answered, `late_seconds` how long it took from there.
    """

    rates: tuple[float, float]
    steady: load.Load
    waiting: int
    late_seconds: float

    @property
    def loss(self) -> float:
        """Which share of the rate the forward costs."""
        return 1 - self.rates[1] / self.rates[0]


def measure() -> Measured:
    """Measure with and without a forward in turn."""
    with tempfile.TemporaryDirectory() as name, _application(Path(name)) as url:
        folder = Path(name)
        best: list[list[float]] = [[], []]
        for number in range(ROUNDS):
            for place, forward in enumerate(([], [{"name": "app", "url": url}])):
                own = folder / f"{number}-{place}"
                own.mkdir()
                best[place].append(_fastest(own, forward))
        steady = folder / "steady"
        steady.mkdir()
        return _steady(steady, url, (max(best[0]), max(best[1])))


def _fastest(folder: Path, forward: list[dict[str, str]]) -> float:
    file = folder / "deliveries.txt"
    workload.write(file, 20_000 * SECONDS, 1, time.time())
    with _sidecar(folder, forward) as sidecar:
        return load.post(sidecar.webhook_url, file, SECONDS).rate


def _steady(folder: Path, url: str, rates: tuple[float, float]) -> Measured:
    file = folder / "deliveries.txt"
    workload.write(file, RATE * STEADY_SECONDS, 1, time.time())
    with _sidecar(folder, [{"name": "app", "url": url}]) as sidecar:
        seen = uvloop.run(load.steady(sidecar.webhook_port, list(workload.requests(file)), RATE))
        ended_at = time.monotonic()
        waiting = int(_waiting(sidecar))
        patience.until(lambda: _waiting(sidecar) == 0, seconds=120, every=0.1)
        sent = sidecar.metric("whatsapp_monitor_outbox_sends_total", outcome="ok")
        assert sent == RATE * STEADY_SECONDS, sent
        return Measured(rates, seen, waiting, time.monotonic() - ended_at)


def _waiting(sidecar: Sidecar) -> float:
    name = "whatsapp_monitor_outbox_pending"
    text = sidecar.get(f"/metrics?name[]={name}").body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


@contextmanager
def _sidecar(folder: Path, forward: list[dict[str, str]]) -> Iterator[Sidecar]:
    webhook = {"app_secrets": [workload.SECRET], "verify_tokens": ["bench"]}
    with Sidecar(folder, webhook=webhook, forward=forward) as sidecar:
        sidecar.start("--log.level", "warning")
        yield sidecar


@contextmanager
def _application(folder: Path) -> Iterator[str]:
    port = ports.free()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port), encoding="utf-8")
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        yield f"http://127.0.0.1:{port}/webhook"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def main() -> None:
    """Measure, and print."""
    found = measure()
    print(
        f"answered without a forward {found.rates[0]:,.0f}/s, with one {found.rates[1]:,.0f}/s: {found.loss:.0%} less"
    )
    print(f"{RATE:,}/s for {STEADY_SECONDS} s: p99 {found.steady.p99:.1f} ms, {found.steady.errors} errors; "
          f"{found.waiting:,} waited at the end, all had left {found.late_seconds:.1f} s later")  # fmt: skip


if __name__ == "__main__":
    main()
