"""Run every measurement once and print the table; `--write` keeps it as tests/bench/RESULTS.md."""

import contextlib
import http.client
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import uvloop

from monitor import payloads, signature
from tests.bench import detection, followers, forwarding, load, proxy, workload

BARE, WEBHOOK, WEB, COLLECTOR = 8390, 8391, 9391, 4391
ROUNDS = 3
SECONDS = 5
RATE, RATE_SECONDS = 3_300, 30
REACTIONS = 200
RESULTS = Path(__file__).with_name("RESULTS.md")


class Row(msgspec.Struct, frozen=True):
    """One line of the table."""

    what: str
    measured: str
    goal: str
    is_met: bool


def main() -> None:
    """Measure, print, and write where asked."""
    if shutil.which("wrk") is None:
        sys.exit("scripts/bench: needs wrk (apt-get install wrk)")
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_measure(Path(folder)))
    lines = ["| what | measured | goal | met |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.measured} | {row.goal} | {'yes' if row.is_met else '**no**'} |" for row in rows]
    table = "\n".join(lines)
    print(table)
    if "--write" in sys.argv:
        _write(table)


def _measure(folder: Path) -> Iterator[Row]:
    with _bare(), _sidecar(folder / "single"):
        yield from _singles(folder)
    with _bare(), _sidecar(folder / "gate"):
        yield from _gate()
    with _sidecar(folder / "batch"):
        yield _batches(folder)
    with _sidecar(folder / "reaction"):
        yield _reaction()
    with _sidecar(folder / "steady"):
        yield _steady(folder)
    yield _follower()
    if shutil.which("nginx") is not None:
        yield from _proxy()
        yield from _forwarding()
    if shutil.which("prometheus") is not None and shutil.which("prometheus-alertmanager") is not None:
        yield from _detection()


def _follower() -> Row:
    p50, p99, missed = followers.measure(RATE)
    return Row(
        f"368 posted → pause seen by a follower, under {RATE:,} webhooks/s",
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {missed} never seen",
        "p99 ≤ 50 ms",
        p99 <= 50 and not missed,
    )


def _proxy() -> Iterator[Row]:
    (_, bare, own), (_, bare_single, own_single) = proxy.measure()
    ratio, added = own.rate / bare.rate, own_single.p50 - bare_single.p50
    measured = f"{own.rate:,.0f}/s against {bare.rate:,.0f}/s = {ratio:.2f} ×"
    yield Row("sends through the proxy against nginx before the same Graph", measured, "≥ 0.5 ×", ratio >= 0.5)
    yield Row("sends through one process", f"{own.rate:,.0f}/s", "≥ 1,000/s", own.rate >= 1_000)
    yield Row("what the proxy adds to one send, p50", f"{added:.2f} ms", "≤ 1.5 ms", added <= 1.5)


def _forwarding() -> Iterator[Row]:
    found = forwarding.measure()
    seen = found.steady
    yield Row(
        f"forwarding {forwarding.RATE:,} deliveries/s to an application that answers at once",
        f"{seen.rate:,.0f}/s answered, p99 {seen.p99:.0f} ms; {found.waiting:,} waited when the last was answered",
        "all, and none waits for more than a second",
        seen.rate >= 0.99 * forwarding.RATE and found.waiting < forwarding.RATE,
    )
    yield Row(
        "the fastest that is answered, with a forward that takes what it can get, against none",
        f"{found.rates[1]:,.0f}/s against {found.rates[0]:,.0f}/s: {found.loss:.0%} less",
        "≤ 20 % less",
        found.loss <= 0.2,
    )


def _detection() -> Iterator[Row]:
    found = detection.measure()
    theirs = f"against {statistics.median(found.theirs):.1f} s by Prometheus and Alertmanager"
    for what, seconds, ratio, goal in (
        ("gate denies", found.paused, found.pause_ratio, 1000),
        ("Alertmanager's webhook has our alert", found.told, found.alert_ratio, 10),
    ):
        measured = f"{statistics.median(seconds) * 1000:.1f} ms {theirs} = {ratio:,.0f} × sooner"
        yield Row(f"368 posted → {what}, median of {len(seconds)}", measured, f"≥ {goal:,} ×", ratio >= goal)


def _singles(folder: Path) -> Iterator[Row]:
    """Bare and monitor in turn; the best round of each, since another process on the machine only ever slows one."""
    bare, own = [], []
    started_at = time.time()
    for number in range(ROUNDS):
        file = folder / f"single-{number}.txt"
        workload.write(file, 30_000 * SECONDS, 1, started_at - 10_000 * number)
        bare.append(load.post(f"http://127.0.0.1:{BARE}/webhook", file, SECONDS))
        own.append(load.post(f"http://127.0.0.1:{WEBHOOK}/webhook", file, SECONDS))
        _catch_up(folder / "single")
        file.unlink()
    best_bare, best_own = max(one.rate for one in bare), max(one.rate for one in own)
    errors = sum(one.errors for one in own)
    ratio = best_own / best_bare
    yield Row(
        "single-status deliveries, acknowledged with everything on, against a bare Starlette endpoint",
        f"{best_own:,.0f}/s against {best_bare:,.0f}/s = {ratio:.2f} ×, {errors} errors",
        "≥ 0.5 ×",
        ratio >= 0.5 and not errors,
    )


def _gate() -> Iterator[Row]:
    bare, own = [], []
    for _ in range(ROUNDS):
        bare.append(load.get(f"http://127.0.0.1:{BARE}/v1/gate/{workload.NUMBER}", SECONDS))
        own.append(load.get(f"http://127.0.0.1:{WEB}/v1/gate/{workload.NUMBER}", SECONDS))
    best_bare, best_own = max(one.rate for one in bare), max(one.rate for one in own)
    ratio = best_own / best_bare
    measured = f"{best_own:,.0f}/s against {best_bare:,.0f}/s = {ratio:.2f} ×"
    is_met = ratio >= 0.8 and best_own >= 15_000
    yield Row("gate check against a bare GET", measured, "≥ 0.8 ×, ≥ 15,000/s", is_met)


def _batches(folder: Path) -> Row:
    file = folder / "batch.txt"
    workload.write(file, 8_000, 100, time.time() - 50_000)
    started_at = time.perf_counter()
    sent = load.post(f"http://127.0.0.1:{WEBHOOK}/webhook", file, SECONDS, connections=16)
    seconds = _catch_up(folder / "batch") - started_at
    file.unlink()
    statuses = _metric('whatsapp_monitor_events_total{kind="status"}')
    rate = statuses / seconds
    return Row(
        "deliveries of 100 statuses",
        f"{sent.rate * 100:,.0f} statuses/s acknowledged, {rate:,.0f}/s counted (until the pipeline had caught up)",
        "≥ 50,000 statuses/s",
        rate >= 50_000 and not sent.errors,
    )


def _reaction() -> Row:
    """Time from posting a 368 to the gate's first denial, each time of another account that has sent before."""
    public = http.client.HTTPConnection("127.0.0.1", WEBHOOK)
    internal = http.client.HTTPConnection("127.0.0.1", WEB)
    seconds = []
    for number in range(REACTIONS):
        waba_id = f"3000000000{number:05d}"
        sent = payloads.status(f"wamid.{number}", "sent", time.time())
        for what in ({"statuses": [sent]}, {"errors": [payloads.error(368)]}):
            body = payloads.delivery(payloads.change(f"4{waba_id}", **what), waba_id=waba_id)
            headers = {"X-Hub-Signature-256": signature.sign(body, workload.SECRET.encode())}
            time.sleep(0.01)
            started_at = time.perf_counter()
            public.request("POST", "/webhook", body, headers)
            public.getresponse().read()
        while True:
            internal.request("GET", f"/v1/gate?waba_id={waba_id}")
            answer = internal.getresponse()
            answer.read()
            if answer.status == 403:
                break
        seconds.append(time.perf_counter() - started_at)
    public.close()
    internal.close()
    seconds.sort()
    p50, p99 = load.percentile(seconds, 0.5) * 1000, load.percentile(seconds, 0.99) * 1000
    return Row("webhook posted → gate denies", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", "p99 ≤ 10 ms", p99 <= 10)


def _steady(folder: Path) -> Row:
    file = folder / "steady.txt"
    workload.write(file, RATE * RATE_SECONDS, 1, time.time())
    requests = list(workload.requests(file))
    seen = uvloop.run(load.steady(WEBHOOK, requests, RATE))
    _catch_up(folder / "steady")
    counted = _metric('whatsapp_monitor_events_total{kind="status"}')
    lost = len(requests) - int(counted)
    return Row(
        f"{RATE:,} webhooks/s held for {RATE_SECONDS} s",
        f"{seen.rate:,.0f}/s, p50 {seen.p50:.1f} ms, p99 {seen.p99:.1f} ms, {seen.errors} errors, {lost} lost",
        "p99 ≤ 100 ms, nothing lost",
        seen.p99 <= 100 and not seen.errors and not lost and seen.rate >= 0.99 * RATE,
    )


@contextlib.contextmanager
def _bare() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", f"127.0.0.1:{BARE}"])
    try:
        _wait(f"http://127.0.0.1:{BARE}/v1/gate/1")
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def _sidecar(folder: Path) -> Iterator[None]:
    """The real process with rules, metrics and tracing on; the collector takes spans and forgets them."""
    folder.mkdir()
    rules = Path(__file__).parents[2] / "rules" / "monitor" / "core.yml"
    (folder / "monitor.yml").write_text(
        f"webhook: {{app_secrets: [{workload.SECRET}], verify_tokens: [bench]}}\n"
        f"store: {{url: sqlite:///monitor.db}}\nrules: {{files: ['{rules}']}}\n"
        f"tracing: {{endpoint: 'http://127.0.0.1:{COLLECTOR}'}}\n",
        encoding="utf-8",
    )
    collector = subprocess.Popen([sys.executable, "-m", "tests.bench.collector", f"127.0.0.1:{COLLECTOR}"])
    command = [sys.executable, "-m", "monitor", "serve", "--config.file", str(folder / "monitor.yml")]
    addresses = ["--webhook.listen-address", f"127.0.0.1:{WEBHOOK}", "--web.listen-address", f"127.0.0.1:{WEB}"]
    process = subprocess.Popen([*command, *addresses, "--log.level", "warning"])
    try:
        _wait(f"http://127.0.0.1:{WEB}/-/ready")
        yield
    finally:
        for one in (process, collector):
            one.terminate()
            one.wait(20)


def _wait(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    sys.exit(f"scripts/bench: {url} did not answer")


def _catch_up(folder: Path) -> float:
    """Wait until the journal has been acted upon and return when that was; asks the file, not the busy process."""
    database = sqlite3.connect(f"{(folder / 'monitor.db').as_uri()}?mode=ro", uri=True)
    query = """SELECT (SELECT MAX(position) FROM journal) -
        COALESCE((SELECT position FROM cursors WHERE name = 'pipeline'), 0)"""
    while database.execute(query).fetchone()[0]:
        time.sleep(0.02)
    caught_up_at = time.perf_counter()
    database.close()
    time.sleep(1.1)  # /metrics is cached for a second
    return caught_up_at


def _metric(series: str) -> float:
    text = httpx2.get(f"http://127.0.0.1:{WEB}/metrics", timeout=30, trust_env=False).text
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series + " ")), 0.0)


def _write(table: str) -> None:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    machine = f"{os.cpu_count()} × {model}, Linux {platform.release()}, Python {platform.python_version()}"
    notes = RESULTS.with_name("NOTES.md").read_text(encoding="utf-8")
    text = f"# Measured\n\n`scripts/bench --write`, {time.strftime('%Y-%m-%d')}, {machine}.\n\n{table}\n\n{notes}"
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
