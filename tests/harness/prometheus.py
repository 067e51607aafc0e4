"""Debian's real Prometheus: scrapes one sidecar every second, or so many, and evaluates the shipped alerts as often."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from tests.harness import exchange, patience, peer, ports
from tests.harness.sidecar import ROOT

JOB = "whatsapp-monitor"  # as the shipped rules name it
RULES = tuple(ROOT / "rules" / "prometheus" / f"{name}.yml" for name in ("recording", "alerts"))
CONFIG = """\
global: {{scrape_interval: {seconds}s, scrape_timeout: 1s, evaluation_interval: {seconds}s}}
{alerting}
rule_files: {rules}
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
ALERTING = "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]}}"


class Prometheus:
    """Runs in a directory of its own."""

    def __init__(
        self,
        directory: Path,
        scraped_port: int,
        rules: Sequence[Path] = RULES,
        *,
        seconds: int = 1,
        alertmanager_port: int | None = None,
    ) -> None:
        self._binary = peer.path("prometheus")
        self._directory = directory
        self.port = ports.free()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(exist_ok=True)
        alerting = "" if alertmanager_port is None else ALERTING.format(port=alertmanager_port)
        config = CONFIG.format(
            seconds=seconds,
            alerting=alerting,
            rules=json.dumps([str(file) for file in rules]),
            job=JOB,
            port=scraped_port,
        )
        (directory / "prometheus.yml").write_text(config, encoding="utf-8")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the vector of an instant query."""
        found: list[dict[str, Any]] = self._api("query", query=expression)["result"]
        return found

    def range(self, expression: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """Return the series of a query over time, each with its values."""
        asked = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        found: list[dict[str, Any]] = self._api("query_range", query=expression, **asked)["result"]
        return found

    def firing(self, alert: str) -> list[dict[str, Any]]:
        """Return the label sets under which an alert fires."""
        return [
            one["labels"]
            for one in self._api("alerts")["alerts"]
            if one["state"] == "firing" and one["labels"]["alertname"] == alert
        ]

    def target(self) -> dict[str, Any]:
        """Return what it knows of its one target, nothing in its first seconds."""
        found: dict[str, Any] = next(iter(self._api("targets")["activeTargets"]), {})
        return found

    def exemplars(self, name: str) -> list[dict[str, str]]:
        """Return the labels of the exemplars of a metric from the last hour."""
        found = self._api("query_exemplars", query=name, start="0", end="9999999999")
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    def __enter__(self) -> Self:
        with (self._directory / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binary,
                    "--config.file=prometheus.yml",
                    "--storage.tsdb.path=data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--enable-feature=exemplar-storage",
                ],
                cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        patience.until(lambda: exchange.ask(self.port, "GET", "/-/ready").status == 200, seconds=20)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        assert self._process is not None, "not started"
        self._process.kill()
        self._process.wait()

    def _api(self, name: str, **asked: str) -> Any:
        answer = exchange.ask(self.port, "GET", f"/api/v1/{name}?{urlencode(asked)}").json()
        assert answer["status"] == "success", answer
        return answer["data"]
