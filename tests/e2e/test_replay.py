"""Recorded webhooks, posted again: from files and from a journal, to another sidecar and to the same."""

import json
import time
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import meta
from tests.harness.meta import NUMBER
from tests.harness.sidecar import APP_SECRET, Sidecar

pytestmark = pytest.mark.slow


def test_a_journal_is_replayed_to_another_sidecar_with_meta_s_signatures(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with Sidecar(tmp_path / "one") as one, Sidecar(tmp_path / "other") as other, meta.of(one) as sender:
        one.start()
        other.start()
        for number in range(20):
            assert sender.statuses(payloads.status(f"wamid.{number}", "sent", time.time())).status == 200
        assert sender.error(368).status == 200
        one.settle()
        command = ["replay", "--journal", str(one.database), "--rate", "1000", "--json"]

        to_other = other.command(*command, "--webhook", other.webhook_url)
        other.settle()
        again = one.command(*command, "--webhook", one.webhook_url)

        assert json.loads(to_other.stdout) == json.loads(again.stdout) == {"200": 21}
        assert other.get(f"/v1/gate/{NUMBER}").status == 403
        other.kill()
        assert {one.body for one in other.oracle().deliveries} == set(sender.acked)
        assert one.metric("whatsapp_statuses_total", status="sent") == 20


def test_files_are_replayed_whole_or_line_by_line_and_wrong_ones_are_named(tmp_path: Path) -> None:
    bodies = [meta.delivery(f"wamid.file.{number}") for number in range(3)]
    (tmp_path / "whole.json").write_bytes(bodies[0])
    (tmp_path / "lines.ndjson").write_bytes(b"\n".join(bodies[1:]) + b"\n")
    (tmp_path / "wrong.txt").write_text("{}\nnot json\n")
    with Sidecar(tmp_path) as sidecar:
        sidecar.start()
        command = ["replay", "--webhook", sidecar.webhook_url, "--secret"]
        files = [str(tmp_path / name) for name in ("whole.json", "lines.ndjson")]

        right = sidecar.command(*command, APP_SECRET, *files)
        wrong_secret = sidecar.command(*command, "another-secret-0123456789", files[0])
        wrong_file = sidecar.command(*command, APP_SECRET, str(tmp_path / "wrong.txt"))
        nothing = sidecar.command(*command, APP_SECRET)

        assert (right.returncode, right.stdout.strip()) == (0, "3 answered 200")
        assert (wrong_secret.returncode, wrong_secret.stdout.strip()) == (1, "1 answered 401")
        assert wrong_file.returncode == 1
        assert "wrong.txt:2: neither a JSON document nor one a line" in wrong_file.stderr
        assert nothing.returncode == 2
