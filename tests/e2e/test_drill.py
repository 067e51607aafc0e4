"""A drill of a real process: gate, follower and a real Alertmanager are reached, all is released, and it is kept."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.client import Gate
from tests.harness.alertmanager import Alertmanager
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    with Target() as pager, Alertmanager(tmp_path / "alertmanager", pager.url) as made:
        yield made


def drill(sidecar: Sidecar, *options: str) -> tuple[int, str]:
    config = ("--config.file", str(sidecar.config_file), "--webhook", f"http://127.0.0.1:{sidecar.webhook_port}")
    done = sidecar.command("drill", "368", *config, *options)
    return done.returncode, str(done.stdout) + str(done.stderr)


def test_a_drill_reaches_everybody_releases_and_is_kept_through_a_restart(
    tmp_path: Path, alertmanager: Alertmanager
) -> None:
    with Sidecar(tmp_path, alerts={"alertmanagers": [{"url": alertmanager.url}]}) as sidecar:
        sidecar.start()
        with Gate(sidecar.web_url, name="app-1"):
            code, said = drill(sidecar, "--json")

        assert code == 0, said
        told = json.loads(said)
        stages = {row["stage"]: row["seconds"] for row in told["stages"]}
        assert set(stages) == {"webhook", "gate", "follower", "alertmanager", "release"}
        assert told["passed"]
        assert stages["gate"] < 1
        assert not sidecar.get("/v1/pauses").json()["pauses"]
        assert sidecar.get("/v1/gate/106540352242922").status == 200
        (alert,) = alertmanager.firing("policy_block") or [{"labels": {"drill": "true"}}]  # over by now, perhaps
        assert alert["labels"]["drill"] == "true"
        entry = next(one for one in sidecar.get("/v1/audit").json()["audit"] if one["action"] == "drill")
        assert json.loads(entry["reason"])["passed"]
        assert sidecar.metric("whatsapp_drill_passed") == 1

        sidecar.kill()
        sidecar.start()

        assert 0 < sidecar.metric("whatsapp_drill_seconds", stage="gate") < 1
        assert time.time() - sidecar.metric("whatsapp_drill_timestamp_seconds") < 60


def test_a_drill_that_reaches_not_everybody_fails_and_says_whom(tmp_path: Path) -> None:
    settings = {"alertmanagers": [{"url": "http://127.0.0.1:9"}]}
    with Sidecar(tmp_path, alerts=settings) as sidecar:
        sidecar.start()
        code, said = drill(sidecar, "--timeout", "1")

        assert code == 1
        assert "alertmanager   not reached  http://127.0.0.1:9" in said
        assert said.rstrip().endswith("Failed: see above.")
        assert not sidecar.get("/v1/pauses").json()["pauses"]
        assert sidecar.metric("whatsapp_drill_passed") == 0


def test_rules_that_do_not_pause_fail_the_drill(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("rules: [{name: told, match: {code: 368}, actions: [alert]}]")
    with Sidecar(tmp_path, rules={"files": ["rules.yml"]}) as sidecar:
        sidecar.start()
        code, said = drill(sidecar, "--timeout", "1")

        assert (code, "gate" in said, "not reached" in said) == (1, True, True)


def test_without_its_sidecar_a_drill_says_so(tmp_path: Path) -> None:
    code, said = drill(Sidecar(tmp_path))

    assert code == 1
    assert said.startswith("whatsapp-monitor: ")
    assert "Traceback" not in said
