"""Debian's real Alertmanager, alone on a port of its own."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from monitor import wordings
from tests.harness import exchange, patience, peer, ports

CONFIG = """\
global: {{resolve_timeout: 5m}}
route: {{receiver: page, group_by: [...], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: page
    webhook_configs: [{{url: "{url}", send_resolved: true, http_config: {{authorization: {{credentials: "{token}"}}}}}}]
"""


class Alertmanager:
    """Keeps its data in a directory, so that `down` and `up` are an outage; pages go to `page_url`."""

    def __init__(self, directory: Path, page_url: str, token: str = "none") -> None:
        self._binary = peer.path("prometheus-alertmanager")
        self._directory = directory
        self.port = ports.free()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(exist_ok=True)
        (directory / "alertmanager.yml").write_text(CONFIG.format(url=page_url, token=token), encoding="utf-8")

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Start it and wait until it is ready."""
        with (self._directory / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binary,
                    "--config.file=alertmanager.yml",
                    "--storage.path=data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--cluster.listen-address=",
                ],
                cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        patience.until(lambda: exchange.ask(self.port, "GET", "/-/ready").status == 200, seconds=20)

    def down(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of a name that have not ended."""
        found = exchange.ask(self.port, "GET", "/api/v2/alerts").json()
        return [alert for alert in found if alert["labels"]["alertname"] == name]

    def tell(self, ends_at: float, labels: dict[str, str], annotations: dict[str, str]) -> None:
        """Tell it an alert, as Prometheus does."""
        alert = {"labels": labels, "annotations": annotations, "endsAt": wordings.time(ends_at)}
        headers = {"Content-Type": "application/json"}
        assert exchange.ask(self.port, "POST", "/api/v2/alerts", json.dumps([alert]).encode(), headers).status == 200

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.down()
