"""Schemathesis against the real process: what /openapi.json says is taken is taken, what it does not say is refused."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import meta, patience, tier
from tests.harness.meta import NUMBER
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(tier.of(180, 900))]

EXAMPLES = tier.of(8, 100)  # of each operation and phase
TOKEN = "a-token-of-an-admin-0123456789"
SEED = os.environ.get("WHATSAPP_MONITOR_TEST_SEED") or str(random.SystemRandom().randrange(1, 2**32))
COMMAND = (
    *(str(Path(sys.executable).with_name("schemathesis")), "run", "--no-color", "--exclude-path", "/v1/events"),
    *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", SEED),
)


@pytest.mark.parametrize("settings", [{}, {"web": {"admin_tokens": [TOKEN]}}], ids=["open", "guarded"])
def test_nothing_that_schemathesis_sends_is_answered_otherwise_than_described(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    named = ("--header", f"Authorization: Bearer {TOKEN}") if settings else ()
    with Sidecar(tmp_path, **settings) as sidecar, meta.of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}", Authorization=f"Bearer {TOKEN}").status == 403)

        done = subprocess.run(
            [*COMMAND, *named, f"{sidecar.web_url}/openapi.json"], cwd=tmp_path, capture_output=True, text=True
        )

        assert done.returncode == 0, done.stdout
        assert "Traceback" not in sidecar.log


def test_a_description_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The other arm: the same tool, told that lists are taken with any limit, sees one refused."""
    with Sidecar(tmp_path) as sidecar:
        sidecar.start("--log.level", "error")
        described = sidecar.get("/openapi.json").json()
        operation = described["paths"]["/v1/pauses"]["get"]
        for parameter in operation["parameters"]:
            parameter["schema"] = {"type": "string"}
        described["paths"] = {"/v1/pauses": {"get": operation}}
        (tmp_path / "wrong.json").write_text(json.dumps(described))

        done = subprocess.run(
            [*COMMAND, "--url", sidecar.web_url, str(tmp_path / "wrong.json")],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip

    assert done.returncode == 1
    assert "Schema-valid request rejected" in done.stdout
