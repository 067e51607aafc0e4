"""Signals and limits at bad moments: stopped and continued, reloaded without end, ended while it starts, flooded."""

import contextlib
import itertools
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import meta, oracle, patience, peer, promises, tier
from tests.harness.asking import asked
from tests.harness.meta import NUMBER, Meta, Traffic
from tests.harness.sidecar import CORE_RULES, Sidecar
from tests.harness.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(tier.of(120, 300))]

STOPPED_SECONDS = tier.of(5.0, 60.0)
STORM_SECONDS = tier.of(2.0, 30.0)
STARTS = tier.of(5, 60)
START_SECONDS = 1.2
LINGER_SECONDS = 10.0
DESCRIPTORS = 256
QUIET = ("--log.level", "error")
RULE = "rules: [{name: after, match: {code: 131031}, actions: [{pause: {scope: waba, until: resumed}}]}]"
_serial = itertools.count()


def flooded(sender: Meta) -> contextlib.AbstractContextManager[None]:
    """Let traffic come that never came before."""
    return sender.flooding(Traffic(1, f"flood{next(_serial)}").delivery, threads=2, pause_seconds=0.01)


def block(sidecar: Sidecar, sender: Meta) -> None:
    """Let Meta block the account."""
    assert sender.error(368).status == 200
    patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[None]:
    """Hold connections that say nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        yield


def test_who_was_stopped_for_a_while_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    with Target() as app, Target() as pager:
        forward, alerts = [{"name": "app", "url": app.url}], {"webhooks": [{"url": pager.url}]}
        with Sidecar(tmp_path, forward=forward, alerts=alerts) as sidecar, meta.of(sidecar) as sender:
            sidecar.start(*QUIET)
            with asked(sidecar, NUMBER) as answers, flooded(sender):
                block(sidecar, sender)
                before = len(answers)
                sidecar.signal(signal.SIGSTOP)
                time.sleep(0.2)
                still = len(sender.acked)
                time.sleep(STOPPED_SECONDS)
                assert len(sender.acked) == still  # it was stopped
                sidecar.signal(signal.SIGCONT)
                patience.until(lambda: len(sender.acked) > still + 20, seconds=5)
                patience.until(lambda: len(answers) > before + 20)
            patience.until(lambda: {request.body for request in app.received} >= sender.acked.keys())
            patience.until(lambda: sidecar.metric("whatsapp_monitor_journal_lag_events") == 0)
            audit = [note["action"] for note in sidecar.get("/v1/audit").json()["audit"]]
            promises.assert_held(sidecar, sender.acked, answers=answers[before:])

        assert len(pager.received) == 1
        assert audit.count("pause") == 1
        if not tier.IS_LONG:  # a minute is longer than a forward may take
            assert len(app.received) == len({request.body for request in app.received})


def test_a_storm_of_reloads_costs_no_delivery_and_ends_with_it_in_what_the_files_say(tmp_path: Path) -> None:
    rules = tmp_path / "own.yml"
    with Sidecar(tmp_path, rules={"files": [str(CORE_RULES), "own.yml"]}) as sidecar, meta.of(sidecar) as sender:
        rules.write_text("rules: []", encoding="utf-8")
        sidecar.start()
        block(sidecar, sender)
        with asked(sidecar, NUMBER) as answers, flooded(sender):
            end = time.monotonic() + STORM_SECONDS
            for number in itertools.count():
                if time.monotonic() > end and sidecar.log.count("event=reload") > 3:
                    break
                rules.write_text(f"rules: [] # {number}" if number % 3 else "rules: [", encoding="utf-8")
                sidecar.signal(signal.SIGHUP)
                time.sleep(0.01)
            rules.write_text(RULE, encoding="utf-8")
            sidecar.signal(signal.SIGHUP)
            time.sleep(3)  # for the one that was under way and the one that waited: each starts a process
            told = sidecar.log.count("event=reload")
            time.sleep(1)
        assert sidecar.log.count("event=reload") == told  # the storm does not outlast itself
        assert sidecar.metric("whatsapp_monitor_config_last_reload_successful") == 1
        assert sender.error(131031, waba_id="100000000000005", number="200000000000005").status == 200
        patience.until(lambda: sidecar.get("/v1/gate/200000000000005").status == 403)
        assert [pause["rule"] for pause in sidecar.get("/v1/pauses").json()["pauses"]] == ["after", "policy_block"]
        assert sidecar.terminate() == 0

        promises.assert_held(sidecar, sender.acked, answers=answers)


def test_sigterm_at_any_moment_of_a_start_ends_it_and_the_next_start_finds_everything(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.start(*QUIET)
        block(sidecar, sender)
        assert sidecar.terminate() == 0
        codes: set[int] = set()
        for number in range(STARTS):
            sidecar.launch(*QUIET)
            time.sleep(START_SECONDS * number / STARTS)
            codes.add(sidecar.terminate())
        sidecar.start(*QUIET)
        assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
        promises.assert_held(sidecar, sender.acked)

        assert codes <= {0, -signal.SIGTERM}
        assert -signal.SIGTERM in codes  # some came before there was anything to end in order
        assert sidecar.log == ""


def test_a_second_sigterm_ends_it_at_once_and_keeps_what_was_answered(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.start(*QUIET, "--shutdown.delay", "20s")
        with flooded(sender):
            patience.until(lambda: len(sender.acked) > 20)
            sidecar.signal(signal.SIGTERM)
            time.sleep(1)
            assert sidecar.get("/-/ready").status == 503  # the first one alone would take twenty seconds
            started_at = time.monotonic()
            code = sidecar.terminate()
        seconds = time.monotonic() - started_at

        assert code == -signal.SIGKILL
        assert seconds < 1
        assert oracle.lost(sender.acked, sidecar.oracle()) == set()


def test_who_takes_all_connections_takes_none_of_the_gate_s(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.program = (peer.path("prlimit"), f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *sidecar.program)
        sidecar.start(*QUIET)
        block(sidecar, sender)
        with connected(sidecar.webhook_port, 2 * DESCRIPTORS):
            time.sleep(0.5)
            used, started_at = sidecar.cpu_seconds, time.monotonic()
            answers = [sidecar.get(f"/v1/gate/{NUMBER}").status for _ in range(20)]
            assert sender.post(meta.delivery("wamid.flood")).status == 200  # Meta's connection was there before
            time.sleep(1)
            share = (sidecar.cpu_seconds - used) / (time.monotonic() - started_at)
        patience.until(lambda: sender.error(131031).status == 200)

        assert share < 0.5
        promises.assert_held(sidecar, sender.acked, answers=answers)


def test_bodies_that_drip_on_after_their_answer_shut_nobody_out(tmp_path: Path) -> None:
    """Nobody needs a secret for them, and not even a signature's form."""
    heads = [b"POST /x", b"POST /webhook", b"GET /webhook"]
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender, contextlib.ExitStack() as stack:
        sidecar.program = (peer.path("prlimit"), f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *sidecar.program)
        sidecar.start(*QUIET)
        dripping: list[socket.socket] = []
        for number in range(DESCRIPTORS):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", sidecar.webhook_port), timeout=10))
            one.sendall(heads[number % 3] + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
            dripping.append(one)
        assert sender.error(131031).status == 503
        began_at, status = time.monotonic(), 503
        while status == 503 and time.monotonic() < began_at + 2 * LINGER_SECONDS:
            for one in dripping:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")
            time.sleep(1)
            status = sender.error(131031).status

        assert status == 200
        assert time.monotonic() - began_at < LINGER_SECONDS + 3


def test_the_internal_listener_has_as_many_and_who_comes_then_is_told_so(tmp_path: Path) -> None:
    """The other arm: the same flood where the asking goes is seen."""
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.program = (peer.path("prlimit"), f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *sidecar.program)
        sidecar.start(*QUIET)
        with connected(sidecar.web_port, 2 * DESCRIPTORS):
            assert sidecar.get("/-/healthy").status == 503
            assert sender.post(meta.delivery("wamid.flood")).status == 200
        patience.until(lambda: sidecar.get("/-/healthy").status == 200)
        refused = sidecar.metric("whatsapp_monitor_connections_refused_total", listener="internal", reason="too_many")
        assert refused > DESCRIPTORS
