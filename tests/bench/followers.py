"""How soon a follower has a pause while webhooks keep coming; prints one line.

`python -m tests.bench.followers` takes half a minute: 3,300 webhooks/s of other accounts from a process of their own,
and meanwhile blocks of accounts that have sent before, timed from before the webhook is posted until the pause is read
off the stream.
"""

import http.client
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx2
import msgspec
import uvloop

from monitor import payloads, signature
from tests.bench import load, workload
from tests.harness import ports

ROOT = Path(__file__).parents[2]
RATE, SECONDS = 3_300, 20
BLOCKS, EVERY_SECONDS = 200, 0.08
_MONITOR = """
webhook: {{app_secrets: [{secret}], verify_tokens: [bench]}}
store: {{url: sqlite:///monitor.db}}
rules: {{files: ['{rules}']}}
"""


class Following:
    """One stream; when the pause of each account was read."""

    def __init__(self, url: str) -> None:
        self.seen: dict[str, float] = {}
        self._url = url
        self.begun = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with (
            httpx2.Client(timeout=60, trust_env=False) as client,
            client.sse(f"{self._url}/v1/events?events=pause") as events,
        ):
            for event in events:
                at = time.perf_counter()
                self.begun.set()
                if event.event == "pause":
                    self.seen.setdefault(msgspec.json.decode(event.data)["scope_id"], at)


def measure(rate: int) -> tuple[float, float, int]:
    """Return p50 and p99 in milliseconds under so many webhooks a second, and how many pauses never came."""
    webhook, web = ports.free(), ports.free()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rules = ROOT / "rules" / "monitor" / "core.yml"
        (folder / "monitor.yml").write_text(_MONITOR.format(secret=workload.SECRET, rules=rules))
        command = [sys.executable, "-m", "monitor", "serve", "--config.file", str(folder / "monitor.yml")]
        command += ["--web.listen-address", f"127.0.0.1:{web}", "--webhook.listen-address", f"127.0.0.1:{webhook}"]
        sidecar = subprocess.Popen([*command, "--log.level", "warning"], cwd=ROOT)
        try:
            _wait(f"http://127.0.0.1:{web}/-/ready")
            return _measured(webhook, web, folder, rate)
        finally:
            sidecar.terminate()
            sidecar.wait()


def _measured(webhook: int, web: int, folder: Path, rate: int) -> tuple[float, float, int]:
    public = http.client.HTTPConnection("127.0.0.1", webhook)

    def post(account: str, **what: object) -> None:
        body = payloads.delivery(payloads.change(f"4{account}", **what), waba_id=account)  # type: ignore[arg-type]
        public.request(
            "POST", "/webhook", body, {"X-Hub-Signature-256": signature.sign(body, workload.SECRET.encode())}
        )
        public.getresponse().read()

    accounts = [f"3000000000{number:05d}" for number in range(BLOCKS)]
    for account in accounts:
        post(account, statuses=[payloads.status(f"wamid.{account}", "sent", time.time())])
    following = Following(f"http://127.0.0.1:{web}")
    following.begun.wait(10)
    loading = multiprocessing.Process(target=_load, args=(webhook, folder / "load.txt", rate))
    if rate:
        loading.start()
        time.sleep(3)
    posted: dict[str, float] = {}
    for account in accounts:
        posted[account] = time.perf_counter()
        post(account, errors=[payloads.error(368)])
        time.sleep(EVERY_SECONDS)
    time.sleep(1)
    if rate:
        loading.join()
    seconds = sorted(following.seen[one] - posted[one] for one in accounts if one in following.seen)
    return load.percentile(seconds, 0.5) * 1000, load.percentile(seconds, 0.99) * 1000, BLOCKS - len(seconds)


def _load(webhook: int, file: Path, rate: int) -> None:
    workload.write(file, rate * SECONDS, 1, time.time())
    requests = []
    with file.open("rb") as lines:
        for line in lines:
            claimed, _, body = line.rstrip(b"\n").partition(b"\t")
            head = b"POST /webhook HTTP/1.1\r\nHost: bench\r\nX-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n"
            requests.append(head % (claimed, len(body)) + body)
    seen = uvloop.run(load.steady(webhook, requests, rate))
    print(f"load: {seen.rate:,.0f}/s, p99 {seen.p99:.1f} ms, {seen.errors} errors", file=sys.stderr)


def _wait(url: str) -> None:
    for _ in range(100):
        try:
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def main() -> None:
    """Measure idle and under load, and print the table."""
    print("| webhooks | posted → seen by a follower, p50 | p99 | never seen |")
    print("|---|---|---|---|")
    for rate in (0, RATE):
        p50, p99, missed = measure(rate)
        print(f"| {rate:,}/s | {p50:.1f} ms | {p99:.1f} ms | {missed} |")


if __name__ == "__main__":
    main()
