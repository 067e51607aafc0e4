"""The process against a small model: whatever the order, batches, copies, crashes and restarts, the same end."""

import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from monitor import codes, observe, payloads, pipeline
from monitor.actions import is_in_force
from monitor.events import PauseReleased
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Commit, StoreUnavailableError
from monitor.store.sqlite import SqliteStore
from tests import setting
from tests.harness import tier
from tests.reference import Model, Said

NOW = 1_700_000_000.0
EXAMPLES = tier.of(200, 2_500)
EVENTS = tier.of(5_000, 100_000)
RULES = setting.CORE.replace(b"{at_least: 5, within: 1m}", b"{at_least: 3, within: 1h}")
ACCOUNTS = {"200": "100", "201": "101"}
MESSAGES = {  # wamid: number, recipient, category
    "wamid.1": ("200", "15550000001", "utility"), "wamid.2": ("200", "15550000001", "utility"),
    "wamid.3": ("200", "15550000001", "marketing"), "wamid.4": ("200", "15550000002", "authentication"),
    "wamid.5": ("201", "15550000001", "utility"),
}  # fmt: skip
LIVES = ("sent", "delivered", "read", "failed", "deleted", "played")
FAILURES = ((), (131026,), (131043,), (368,), (506,), (131026, 131043))


class World:
    """What the process is made of, over a store that may be closed, or left as by a kill, and opened again."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = directory
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, codes.catalogue())
        self.clock = NOW
        self.opened = 0
        self.store: SqliteStore
        self.pipeline: Pipeline
        self.start()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def start(self) -> None:
        self.store = open_store(self.directory / f"{self.opened}" / "monitor.db")
        self.pipeline = Pipeline(
            self.store,
            setting.settings(RULES),
            str,
            observe=lambda facts: observe.facts(self.metrics, None, facts, self.clock),
            quarantine=lambda stage, _: self.metrics.quarantined.of(stage).inc(),
        )
        self.do(self.pipeline.load(self.clock))

    def restart(self, *, is_killed: bool) -> None:
        if is_killed:  # what a kill leaves: the files as they are, nothing checkpointed
            before, self.opened = self.directory / f"{self.opened}", self.opened + 1
            (self.directory / f"{self.opened}").mkdir()
            for name in ("monitor.db", "monitor.db-wal"):
                shutil.copy(before / name, self.directory / f"{self.opened}" / name)
        self.do(self.store.close())
        self.start()

    def hear(self, kind: str, body: bytes) -> int | None:
        position: int | None = self.do(self.store.append(Arrival(kind, self.clock, body)))
        return position

    def catch_up(self) -> None:
        while self.do(self.pipeline.step()):
            pass

    def counted(self, name: str, *labels: str) -> Counter[tuple[str, ...]]:
        """Return a counter's values that are not 0, by some of its labels."""
        found: Counter[tuple[str, ...]] = Counter()
        for metric in self.registry.collect():
            for sample in metric.samples if f"{metric.name}_total" == name else ():
                if sample.name == name and sample.value:
                    found[tuple(sample.labels[label] for label in labels)] += int(sample.value)
        return found

    def close(self) -> None:
        self.do(self.store.close())
        self.loop.close()


def body_of(said: Sequence[Said], time: int | None, padding: int = 0) -> bytes:
    """Write a delivery of one account: statuses first, then errors, as it will be read."""
    statuses = [
        payloads.status(
            one.wamid, one.status, one.at or 0, recipient=one.recipient, category=one.category, codes=one.codes
        )
        for one in said
        if one.wamid
    ]
    errors = [payloads.error(one.codes[0]) for one in said if not one.wamid]
    change = payloads.change(said[0].number, statuses=statuses, errors=errors)
    return payloads.delivery(change, waba_id=said[0].waba_id, time=time) + b" " * padding


class Deliveries(RuleBasedStateMachine):
    """Deliver, repeat, crash; and compare with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.limits = pipeline.STEP_ENTRIES, pipeline.BUSY_ENTRIES, pipeline.STEP_EVENTS
        self.world = World(Path(self.directory.name))
        self.model = Model()
        self.sent: list[tuple[bytes, tuple[Said, ...]]] = []

    @initialize(entries=st.sampled_from([1, 3, 512]), events=st.sampled_from([1, 4, 2_000]))
    def steps_of(self, entries: int, events: int) -> None:
        pipeline.STEP_ENTRIES, pipeline.BUSY_ENTRIES, pipeline.STEP_EVENTS = entries, min(entries, 16), events

    @rule(data=st.data(), number=st.sampled_from(sorted(ACCOUNTS)), is_timed=st.booleans())
    def deliver(self, data: st.DataObject, number: str, is_timed: bool) -> None:
        hours = int(self.world.clock - NOW) // 3600
        times = st.sampled_from(sorted({0, 60, hours * 3600}))
        wamids = [wamid for wamid, about in MESSAGES.items() if about[0] == number]
        said = []
        for _ in range(data.draw(st.integers(0, 5))):
            wamid, name = data.draw(st.sampled_from(wamids)), data.draw(st.sampled_from(sorted(LIVES)))
            why = data.draw(st.sampled_from(FAILURES)) if name == "failed" else ()
            at = int(NOW) + data.draw(times)
            said.append(Said(ACCOUNTS[number], number, wamid, name, at, why, *MESSAGES[wamid][1:]))
        time = int(NOW) + data.draw(times) if is_timed else None
        found = data.draw(st.lists(st.sampled_from([368, 506, 131042]), max_size=2, min_size=0 if said else 1))
        said.extend(Said(ACCOUNTS[number], number, "", "", time, (code,)) for code in found)
        self._send(body_of(said, time), said)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), copies=st.integers(1, 5))
    def deliver_again(self, data: st.DataObject, copies: int) -> None:
        body, said = data.draw(st.sampled_from(self.sent))
        for _ in range(copies):
            self._send(body, said)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), chance=st.randoms(use_true_random=False), copies=st.integers(1, 5))
    def deliver_in_other_batches(self, data: st.DataObject, chance: random.Random, copies: int) -> None:
        """Send statuses of earlier deliveries again, in other bodies and another order."""
        number = data.draw(st.sampled_from(sorted(ACCOUNTS)))
        known = [one for _, said in self.sent for one in said if one.wamid and one.number == number] * copies
        chance.shuffle(known)
        size = data.draw(st.integers(1, 10))
        for start in range(0, min(len(known), 40), size):
            self._send(body_of(known[start : start + size], None), known[start : start + size])

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), padding=st.integers(1, 3))
    def deliver_in_other_bytes(self, data: st.DataObject, padding: int) -> None:
        body, said = data.draw(st.sampled_from(self.sent))
        self._send(body + b" " * padding, said)

    @rule(seconds=st.sampled_from([1.0, 600.0, 3_700.0, 7 * 86_400.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock += seconds

    @rule()
    def step(self) -> None:
        self.world.do(self.world.pipeline.step())

    @rule()
    def fail_to_commit(self) -> None:
        commit = self.world.store.commit

        async def failing(_: Commit) -> None:
            raise StoreUnavailableError("locked")

        self.world.store.commit = failing  # type: ignore[method-assign, assignment]
        try:
            self.world.do(self.world.pipeline.step())
        except StoreUnavailableError:
            pass
        finally:
            self.world.store.commit = commit  # type: ignore[method-assign]

    @rule(is_killed=st.booleans())
    def restart(self, is_killed: bool) -> None:
        self.world.restart(is_killed=is_killed)

    @rule(number=st.sampled_from(sorted(ACCOUNTS)))
    def release(self, number: str) -> None:
        self.world.catch_up()
        for pause in self.world.pipeline.standing.pauses.values():
            if pause.scope_id == ACCOUNTS[number] and is_in_force(pause, self.world.clock):
                self.world.hear("operator", msgspec.json.encode(PauseReleased("kim", "mended", pause.id)))
                self.model.counts["acts",] += 1
        self.model.release(ACCOUNTS[number])
        self.world.catch_up()

    @rule()
    def compare(self) -> None:
        self.world.catch_up()
        self._compare_counters()
        self._compare_state()

    def teardown(self) -> None:
        try:
            self.compare()
        finally:
            pipeline.STEP_ENTRIES, pipeline.BUSY_ENTRIES, pipeline.STEP_EVENTS = self.limits
            self.world.close()
            self.directory.cleanup()

    def _send(self, body: bytes, said: Sequence[Said]) -> None:
        self.world.clock += 1
        is_new = self.model.take(body, said, self.world.clock)
        assert (self.world.hear("webhook", body) is not None) == is_new
        self.sent.append((body, tuple(said)))

    def _compare_counters(self) -> None:
        counts, counted = self.model.counts, self.world.counted
        told: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in ("status", "error", "match", "late")}
        for (name, *labels), count in counts.items():
            if name in told:
                told[name][tuple(labels)] += count
        assert counted("whatsapp_statuses_total", "status") == told["status"]
        assert counted("whatsapp_errors_total", "code", "origin") == told["error"]
        assert counted("whatsapp_monitor_rule_matches_total", "rule") == told["match"]
        assert counted("whatsapp_monitor_rule_late_events_total", "rule") == told["late"]
        assert counted("whatsapp_messages_priced_total")[()] == counts["priced",]
        assert counted("whatsapp_monitor_quarantined_total") == Counter()
        assert counted("whatsapp_monitor_unparsed_total") == Counter()
        assert counted("whatsapp_monitor_repeated_events_total")[()] == counts["repeated",]
        kinds = counted("whatsapp_monitor_events_total", "kind")
        assert kinds["status",] + kinds["error",] == counts["read",]
        anomalies = {name: count for (name,), count in counted("whatsapp_message_anomalies_total", "anomaly").items()}
        assert anomalies == self.model.contradictions()

    def _compare_state(self) -> None:
        world, model = self.world, self.model
        found = world.do(world.store.messages(list(MESSAGES)))
        assert {wamid: one.state for wamid, one in found.items()} == {wamid: model.state(wamid) for wamid in model.life}
        page = world.do(world.store.resends("", 100, state=""))
        assert sorted((one.wamid, one.state) for one in page.items) == sorted(
            (wamid, one.state) for wamid, one in model.listed.items()
        )
        pauses = world.do(world.store.pauses("", 1_000, active_at=None)).items
        stood = sorted((one.scope_id, one.evidence_count, one.released_at is not None) for one in pauses)
        assert stood == sorted((one.waba_id, one.evidence, one.is_released) for one in model.pauses)
        flags = world.do(world.store.flags("", 100, is_open=None)).items
        assert {flag.group["phone_number_id"]: flag.evidence_count for flag in flags} == model.flagged


def test_whatever_comes_the_process_and_the_model_agree() -> None:
    run_state_machine_as_test(
        Deliveries,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def life_of(number: int, chance: random.Random) -> list[Said]:
    """Return a made-up message's statuses."""
    sender, recipient = chance.choice(sorted(ACCOUNTS)), str(15_550_000_000 + number)
    names = chance.choice([("sent",), ("sent", "delivered"), ("sent", "delivered", "read"), ("sent", "failed")])
    return [
        Said(
            ACCOUNTS[sender], sender, f"wamid.{number}", name, int(NOW) + number % 600 + 10 * place,
            chance.choice(FAILURES[1:]) if name == "failed" else (), recipient, "utility",
        )
        for place, name in enumerate(names)
    ]  # fmt: skip


def test_nothing_is_counted_twice_however_often_and_in_whatever_batches_it_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("WHATSAPP_MONITOR_TEST_SEED", "368"))
    chance = random.Random(seed)
    events: list[Said] = []
    number = 0
    while len(events) < EVENTS:
        number += 1
        events += life_of(number, chance)
    copies = [one for one in events for _ in range(chance.randint(1, 5))]
    chance.shuffle(copies)
    world = World(tmp_path)
    for sender in ACCOUNTS:
        sent = [one for one in copies if one.number == sender]
        while sent:
            size = chance.choice([1, 2, 10, 100, 1_000])
            world.clock += 0.001
            world.hear("webhook", body_of(sent[:size], None))
            del sent[:size]
            if chance.random() < 0.05:
                world.do(world.pipeline.step())
            if chance.random() < 0.002:
                world.restart(is_killed=chance.random() < 0.5)
    world.catch_up()

    counted = world.counted("whatsapp_statuses_total", "status")
    double = sum(counted.values()) - len(events)
    with capsys.disabled():
        sys.stdout.write(f"\n{len(events):,} events in {len(copies):,} copies, {double} counted twice (seed {seed})\n")
    assert counted == Counter((one.status,) for one in events)
    assert world.counted("whatsapp_errors_total", "code") == Counter((str(c),) for one in events for c in one.codes)
    assert world.counted("whatsapp_messages_priced_total")[()] == number
    pauses = {one.scope_id: one.evidence_count for one in world.pipeline.standing.pauses.values()}
    assert pauses == Counter(one.waba_id for one in events if 368 in one.codes)
    world.close()
