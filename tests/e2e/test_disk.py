"""A disk that fills up: Meta is told to keep its webhooks, while pauses hold, take effect and can be released."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import payloads
from tests.harness import meta, mounts, patience, promises
from tests.harness.meta import NUMBER, WABA_ID, Meta
from tests.harness.sidecar import Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.loss, pytest.mark.root]

SIZE = 32 * 1024 * 1024
OTHER = "100000000000002"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB, of which a quarter is kept free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounts.mount(folder, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs")
    try:
        yield folder
    finally:
        mounts.unmount(folder, is_lazy=True)


def fill(sender: Meta, numbers: Iterator[int]) -> int:
    """Deliver until it is refused; return the status of the refusal."""
    for number in numbers:
        statuses = [payloads.status(f"wamid.{number}.{one}", "sent", time.time()) for one in range(50)]
        status = sender.statuses(*statuses).status
        if status != 200:
            return status
    raise AssertionError("the disk did not fill")


def test_a_disk_that_fills_keeps_pauses_and_all_that_was_accepted(disk: Path) -> None:
    with Target() as app:
        sidecar = Sidecar(disk, forward=[{"name": "app", "url": app.url}])
        with sidecar, meta.of(sidecar) as sender:
            sidecar.start("--log.level", "error")
            assert sender.error(368).status == 200
            patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
            ballast = disk / "somebody-else"
            ballast.write_bytes(b"x" * (10 * 1024 * 1024))

            assert fill(sender, iter(range(10_000))) == 503
            act = {"actor": "ann", "reason": "while the disk is full"}
            placed = sidecar.post("/v1/pauses", scope="waba", scope_id=OTHER, **act)
            assert placed.status == 201
            assert sidecar.get(f"/v1/gate?waba_id={OTHER}").status == 403
            released = sidecar.post(f"/v1/pauses/{placed.json()['pause']['id']}/resume", **act)
            assert released.status == 200
            patience.until(lambda: sidecar.metric("whatsapp_monitor_deliveries_total", outcome="disk_full") > 0)

            sidecar.kill()
            sidecar.start("--log.level", "error")
            assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
            assert sender.error(368, waba_id=WABA_ID).status == 503

            ballast.unlink()
            started_at = time.monotonic()
            patience.until(lambda: sender.error(131031).status == 200, seconds=5)
            assert time.monotonic() - started_at < 5
            sidecar.settle(seconds=60)
            forwarded = [request.body for request in app.received]
            assert set(forwarded) == set(sender.acked)
            promises.assert_held(sidecar, sender.acked, forwarded=forwarded)


def test_without_room_that_is_kept_free_nobody_can_pause_any_more(disk: Path) -> None:
    """The other arm: what the first test sees is what keeping some room free is for."""
    with Sidecar(disk, store={"url": "sqlite:///monitor.db", "keep_free": 0}) as sidecar, meta.of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        (disk / "somebody-else").write_bytes(b"x" * (16 * 1024 * 1024))

        assert fill(sender, iter(range(10_000))) == 503
        refused = [
            sidecar.post("/v1/pauses", scope="waba", scope_id=OTHER, actor="ann", reason="too late").status
            for _ in range(5)
        ]
        assert 503 in refused
