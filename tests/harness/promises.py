"""The one oracle: what holds of a sidecar after every fault, of its process, its store, its log and who asked it."""

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from tests.harness import memory, oracle
from tests.harness.oracle import Oracle
from tests.harness.sidecar import Sidecar

MEBIBYTES_MOST = 256
SERIES_MOST, PAGE_BYTES_MOST = 5_000, 2_000_000
FILES_MORE_MOST = 8  # than at the start, beside sockets
SETTLED_SECONDS = 120.0


def assert_held(
    sidecar: Sidecar,
    acked: Iterable[bytes],
    *,
    forwarded: Iterable[bytes] | None = None,
    answers: Iterable[int] = (),
) -> Oracle:
    """Let a running process settle and look at it, end it, and check all that is promised; return what its store says.

    `acked` were answered 200, `forwarded` reached the application; `answers` of the gate are those about whom is
    paused, 0 where there was none.
    """
    if sidecar.is_running:
        sidecar.settle(seconds=SETTLED_SECONDS)
        _assert_sound(sidecar)
        counted = sidecar.metric("whatsapp_statuses_total") + sidecar.metric("whatsapp_messages_received_total")
        sidecar.kill()
        if sidecar.is_first_life:
            whole = oracle.told(delivery.body for delivery in sidecar.oracle().deliveries)
            assert counted == sum(map(len, whole.values())), "each event counts once"
    found = sidecar.oracle()
    oracle.assert_kept(acked, found, forwarded)
    assert set(answers) <= {0, 403}, "a send was allowed while paused"
    assert "Traceback" not in sidecar.log
    return found


def _assert_sound(sidecar: Sidecar) -> None:
    page = sidecar.get("/metrics").body
    samples = [sample for family in text_string_to_metric_families(page.decode()) for sample in family.samples]
    assert len(samples) <= SERIES_MOST
    assert len(page) <= PAGE_BYTES_MOST
    assert sidecar.metric("whatsapp_monitor_quarantined_total") == 0
    assert memory.resident_mebibytes(sidecar.pid, at_most=True) <= MEBIBYTES_MOST
    assert sidecar.files() <= sidecar.files_at_start + FILES_MORE_MOST
