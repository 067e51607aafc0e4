"""The compose stack's Prometheus and sidecar find each other as configured, with the operator's token between them."""

from pathlib import Path

import pytest

from tests.harness import patience
from tests.harness.prometheus import JOB, Prometheus
from tests.harness.sidecar import Sidecar
from tests.test_compose import STACK, as_mounted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

TOKEN = "operator-token-of-the-stack"


@pytest.mark.parametrize(("given", "health"), [(TOKEN, "up"), ("another", "down")])
def test_prometheus_scrapes_the_sidecar_with_the_operator_s_token(tmp_path: Path, given: str, health: str) -> None:
    (tmp_path / "token").write_text(given, encoding="utf-8")
    with Sidecar(tmp_path, web={"operator_tokens": [TOKEN]}) as sidecar:
        prometheus = Prometheus(tmp_path / "prometheus", sidecar.web_port)
        text = as_mounted((STACK / "prometheus.yml").read_text(encoding="utf-8"), "prometheus")
        text = text.replace("/run/secrets/operator_token", str(tmp_path / "token"))
        text = text.replace("monitor:9368", f"127.0.0.1:{sidecar.web_port}").replace("15s", "1s")
        (tmp_path / "prometheus" / "prometheus.yml").write_text(text, encoding="utf-8")
        sidecar.start()
        with prometheus:
            patience.until(lambda: prometheus.target().get("health", "unknown") != "unknown", seconds=30, every=0.2)
            found = prometheus.target()
            info = prometheus.query("whatsapp_monitor_build_info")

    assert (found["health"], found["labels"]["job"]) == (health, JOB)
    assert bool(info) == (health == "up")
    assert ("401" in found["lastError"]) == (health == "down")
