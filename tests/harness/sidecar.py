"""The real process: started, asked, killed and started again on the same files and ports."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.harness import exchange, oracle, patience, ports, series
from tests.harness.exchange import Answer
from tests.harness.oracle import Oracle
from tests.harness.series import Series

ROOT = Path(__file__).parents[2]
CORE_RULES = ROOT / "rules" / "monitor" / "core.yml"
APP_SECRET = "app-secret-of-the-tests-0123456789"
VERIFY_TOKEN = "verify-token-of-the-tests"
READY_SECONDS = 20.0
EXIT_SECONDS = 20.0

COUNTED_SECONDS = 0.05  # what was acted upon is counted a moment later


class Sidecar:
    """One sidecar in a directory of its own; `settings` replace or add top-level keys of its configuration."""

    def __init__(self, directory: Path, *, environment: Mapping[str, str] | None = None, **settings: Any) -> None:
        self.directory = directory
        self.config_file = directory / "monitor.yml"
        self.database = directory / "monitor.db"
        self.log_file = directory / "sidecar.log"
        self.webhook_port = ports.free()
        self.web_port = ports.free()
        self.program: tuple[str, ...] = (sys.executable, "-m", "monitor")  # a test of faults puts others around it
        own = {"PYTHONDONTWRITEBYTECODE": "1", "WHATSAPP_MONITOR_SHUTDOWN_DELAY": "0s"}
        self._environment = {**os.environ, **own, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.is_first_life = True
        self.files_at_start = 0
        self.configure(**settings)

    @property
    def web_url(self) -> str:
        """The internal listener's address."""
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def webhook_url(self) -> str:
        """Where Meta posts."""
        return f"http://127.0.0.1:{self.webhook_port}/webhook"

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def cpu_seconds(self) -> float:
        """How much of a core the running process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def is_running(self) -> bool:
        """Whether it was started and not waited for."""
        return self._process is not None

    @property
    def log(self) -> str:
        """Everything that it has printed so far."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def configure(self, **settings: Any) -> None:
        """Write the configuration file; a running process does not see it before a reload."""
        whole = {
            "webhook": {"app_secrets": [APP_SECRET], "verify_tokens": [VERIFY_TOKEN]},
            "store": {"url": f"sqlite:///{self.database.name}"},
            "rules": {"files": [str(CORE_RULES)]},
            **settings,
        }
        self.config_file.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")

    def launch(self, *options: str) -> None:
        """Start the process and return at once."""
        assert self._process is None, "runs already"
        command = [
            *(*self.program, "serve", "--config.file", str(self.config_file)),
            *("--web.listen-address", f"127.0.0.1:{self.web_port}"),
            *("--webhook.listen-address", f"127.0.0.1:{self.webhook_port}"),
            *options,
        ]
        self.is_first_life = not self.database.exists()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=self._environment
            )

    def start(self, *options: str) -> None:
        """Start the process and wait until traffic may come."""
        self.launch(*options)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it is ready; AssertionError with its log where it ends or takes too long."""
        end = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            assert self._process is not None, "not started"
            assert self._process.poll() is None, f"ended with {self._process.returncode}:\n{self.log}"
            assert time.monotonic() < end, f"not ready after {READY_SECONDS:g} s:\n{self.log}"
            time.sleep(0.01)
        self.files_at_start = self.files()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def wait(self, seconds: float = EXIT_SECONDS) -> int:
        """Wait for the process to end by itself and return its exit code."""
        assert self._process is not None, "not started"
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:g} s:\n{self.log}") from None
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a crash does: SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """End it if it has not ended by itself."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self.wait()

    def terminate(self) -> int:
        """Ask it to stop and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def reload(self) -> Answer:
        """Reload configuration and rules over HTTP."""
        return self.post("/-/reload")

    def get(self, path: str, **headers: str) -> Answer:
        """Ask the internal listener; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return exchange.ask(self.web_port, "GET", path, headers=named)

    def post(self, path: str, **body: Any) -> Answer:
        """Write to the internal listener."""
        headers = {"Content-Type": "application/json"}
        return exchange.ask(self.web_port, "POST", path, json.dumps(body).encode(), headers)

    def metrics(self) -> Series:
        """Scrape: what this returns may be a second old."""
        return series.read(self.get("/metrics").body.decode())

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of one name that have these labels; it may be a second old."""
        return self.metrics().sum(name, **labels)

    def files(self) -> int:
        """Return how many files the process has open, sockets left out."""
        found = []
        for one in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(one.readlink()))
        return sum(not name.startswith(("socket:", "/proc/")) for name in found)

    def settle(self, *, seconds: float = 30.0) -> None:
        """Wait until everything journaled has been acted upon and every forward has left."""
        patience.until(self._is_settled, seconds=seconds, every=0.1)
        time.sleep(COUNTED_SECONDS)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the program against this sidecar."""
        environment = {**self._environment, "WHATSAPP_MONITOR_URL": self.web_url}
        return subprocess.run(
            [sys.executable, "-m", "monitor", *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def oracle(self) -> Oracle:
        """Look into the database; the process must be dead."""
        assert self._process is None, "still runs"
        return oracle.read(self.database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._process is not None:
            self.kill()
        if error is not None:
            error.add_note(f"The sidecar's log ends with:\n{self.log[-3000:]}")

    def _is_ready(self) -> bool:
        try:
            return self.get("/-/ready").status == 200
        except OSError:
            return False

    def _is_settled(self) -> bool:
        waiting = ("whatsapp_monitor_journal_lag_events", "whatsapp_monitor_outbox_oldest_seconds")
        # An alert that lasts waits to be told again all the while; what was never sent has an age.
        # Asked for by name, so that the page that a test looks at next is not the one that was kept from here.
        query = "&".join(f"name[]={name}" for name in waiting)
        page = series.read(self.get(f"/metrics?{query}").body.decode())
        return bool(page.of(waiting[0])) and all(page.sum(name) == 0 for name in waiting)
