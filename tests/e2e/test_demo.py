"""The demonstration that a newcomer sees: traffic, a burst of duplicates, a policy block and its release."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.fake_graph import FakeGraph
from tests.harness import patience, ports
from tests.harness.sidecar import APP_SECRET, ROOT, Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

SECONDS = 22
NUMBER = "200000000000001"


def flagged(sidecar: Sidecar, rule: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sidecar.get("/v1/flags?open=true").json()["flags"]
    return [flag for flag in found if flag["rule"] == rule]


def echoed(sidecar: Sidecar) -> set[str]:
    """Return what the statuses in the journal carry of their sends, empty for nothing."""
    values = [
        change["value"]
        for delivery in sidecar.oracle().deliveries
        for entry in json.loads(delivery.body)["entry"]
        for change in entry["changes"]
    ]
    return {item.get("biz_opaque_callback_data", "") for value in values for item in value.get("statuses", [])}


@pytest.mark.parametrize("through_proxy", [False, True])
def test_the_simulated_incident_is_counted_flagged_paused_and_released(tmp_path: Path, through_proxy: bool) -> None:
    graph = f"127.0.0.1:{ports.free()}"
    with Sidecar(tmp_path, graph={"url": f"http://{graph}"}) as sidecar:
        sidecar.start()
        command = [
            *(sys.executable, "-m", "monitor", "simulate", "--secret", APP_SECRET, "--seconds", str(SECONDS)),
            *("--webhook", sidecar.webhook_url, "--web", sidecar.web_url, "--rate", "20"),
            *(("--graph.listen-address", graph) if through_proxy else ()),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as play:
            try:
                patience.until(lambda: flagged(sidecar, "duplicate_burst"), seconds=15)
                pause = patience.until(lambda: sidecar.get("/v1/pauses").json()["pauses"], seconds=15)[0]
                denied = sidecar.get(f"/v1/gate/{NUMBER}")
                page = sidecar.get("/").body.decode()
                patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 200, seconds=20)
                said, _ = play.communicate(timeout=30)
            finally:
                play.kill()

        assert play.returncode == 0, said
        (flag,) = flagged(sidecar, "duplicate_burst")
        assert flag["sources"]["source"] == {"nightly-import": 8}
        assert bool(flagged(sidecar, "duplicate_send")) == through_proxy
        assert (pause["rule"], pause["code"]) == ("policy_block", 368)
        assert denied.json()["rule"] == "policy_block"
        assert pause["id"] in page
        assert "must not send" in said
        assert f"released pause {pause['id']}" in said
        sidecar.settle()
        counted = sidecar.metrics()
        for status in ("sent", "delivered", "read"):
            assert counted.sum("whatsapp_statuses_total", status=status) > 50
        assert counted.sum("whatsapp_errors_total", code="506") == 8
        assert 1 <= counted.sum("whatsapp_errors_total", code="368") <= (5 if through_proxy else 1)
        assert counted.sum("whatsapp_flags_total", rule="duplicate_burst") == 1
        assert counted.sum("whatsapp_sends_total", outcome="accepted") > 50
        if through_proxy:
            printed = re.findall(r"took (\d+), refused (\d+); the proxy refused (\d+)", said)[-1]
            assert [int(count) for count in printed] == [
                counted.sum("whatsapp_sends_total", outcome=outcome) for outcome in ("accepted", "failed", "refused")
            ]
            assert int(printed[1]) <= 4  # those under way when it began
            assert flag["sources"]["caller"] == {"nightly-import": 8}
            assert counted.sum("whatsapp_sends_total", outcome="refused") > 5
            assert 0 < counted.sum("whatsapp_graph_usage_ratio", kind="app") <= 0.6
        assert counted.of("whatsapp_gate_paused") == []
        assert counted.sum("whatsapp_monitor_quarantined_total") == 0
        audit = sidecar.get("/v1/audit").json()["audit"]
        assert ("simulator", "resume", pause["id"]) in [(one["actor"], one["action"], one["target"]) for one in audit]
        sidecar.terminate()
        assert echoed(sidecar) == ({"app", "nightly-import"} if through_proxy else {"", "nightly-import"})


def test_the_stand_in_for_graph_binds_to_loopback_only() -> None:
    with pytest.raises(ValueError, match="not on loopback"):
        FakeGraph("0.0.0.0:0")
