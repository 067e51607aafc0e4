"""Rules of a real process: time lets them act, a kill does not, and what fires reaches its webhook."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import meta, patience
from tests.harness.meta import NUMBER, WABA_ID
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = pytest.mark.slow

RULES = """
rules:
  - name: no_word
    match: {kind: sent}
    absent: {of: {kind: status}, for: 3s}
    by: [phone_number_id]
    actions:
      - pause: {scope: phone_number, until: cleared}
      - webhook: {to: crisis}
"""


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as made:
        yield made


def test_silence_pauses_though_the_process_was_killed_and_the_next_word_resumes(tmp_path: Path, target: Target) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    alerts = {"webhooks": [{"name": "crisis", "url": target.url}]}
    with Sidecar(tmp_path, rules={"files": ["rules.yml"]}, alerts=alerts) as sidecar, meta.of(sidecar) as sender:
        sidecar.start()
        answer = {"messaging_product": "whatsapp", "messages": [{"id": "wamid.1"}]}
        sent_at = time.time()
        sidecar.post("/v1/sends", phone_number_id=NUMBER, waba_id=WABA_ID, answer=answer)
        sidecar.settle()
        sidecar.kill()
        sidecar.start()
        before = sidecar.get(f"/v1/gate/{NUMBER}").status
        (pause,) = patience.until(lambda: sidecar.get("/v1/pauses").json()["pauses"], seconds=10)
        denied = sidecar.get(f"/v1/gate/{NUMBER}").status
        sender.statuses(payloads.status("wamid.1", "sent", time.time()))
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 200, seconds=10)
        patience.until(lambda: len(target.received) == 2, seconds=10)

        told = [json.loads(request.body)["firing"] for request in target.received]
        audit = [one["action"] for one in sidecar.get("/v1/audit").json()["audit"] if one["actor"] == "rule:no_word"]

    assert (before, denied) == (200, 403)
    assert 3.0 <= pause["since"] - sent_at < 4.0
    assert pause["until"] == "cleared"
    assert [(one["id"], one["state"]) for one in told] == [(told[0]["id"], "firing"), (told[0]["id"], "ended")]
    assert audit == ["resume", "ended", "pause", "fired"]


def test_a_firing_is_listed_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("rules: [{name: seen, mode: shadow, match: {code: 131026}, actions: [alert]}]")
    with Sidecar(tmp_path, rules={"files": ["rules.yml"]}) as sidecar, meta.of(sidecar) as sender:
        sidecar.start()
        sender.statuses(payloads.status("wamid.1", "failed", time.time(), codes=(131026,)))
        sidecar.settle()

        listed = sidecar.command("firings").stdout

    assert listed.splitlines()[0].split()[:4] == ["ID", "RULE", "MODE", "STATE"]
    assert "seen" in listed
    assert "shadow" in listed
