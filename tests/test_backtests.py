"""Backtests: the same rules over the same journal do what they did, and other rules what they would have done."""

import functools
import json
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from monitor import app as application
from monitor import backtests, codes, config, engine, partitions, payloads, pseudonyms, reloads, rule_files
from monitor.backtests import Backtest, Report
from monitor.campaigns import NO_NAMING
from monitor.cli import main
from monitor.events import PausePlaced, Tick
from monitor.messages import DEFAULT_POLICY
from monitor.step import Settings
from monitor.store.opening import SCHEMA_VERSION
from monitor.store.protocol import OPERATOR, TICK, WEBHOOK, Entry
from tests.test_web import hear
from tests.world import NOW, NUMBER, WABA

BLOCK = "rules: [{name: block, match: {code: 368}, actions: [{pause: {scope: waba, until: resumed}}, alert]}]"
SHORT = "rules: [{name: block, match: {code: 368}, actions: [{pause: {scope: waba, for: 10m}}]}]"


def webhook(position: int, at: float, *statuses: tuple[str, str, int]) -> Entry:
    """Return an entry with statuses: wamid, name, code."""
    items = [
        payloads.status(wamid, name, NOW + at, codes=(code,) if code else (), recipient=f"1555000{position:04}")
        for wamid, name, code in statuses
    ]
    body = payloads.delivery(payloads.change(NUMBER, statuses=items), waba_id=WABA)
    return Entry(position, WEBHOOK, NOW + at, body, "")


def report(text: str, entries: list[Entry], resumed_after: float | None = 3600.0) -> Report:
    plan = engine.plan(rule_files.load([("rules.yml", text.encode())]), codes.catalogue())
    told = Backtest(Settings(plan, DEFAULT_POLICY, NO_NAMING, 0.0, False), str, resumed_after)
    for entry in entries:
        told.take(entry)
    return told.report()


def test_messages_sent_during_a_pause_would_have_been_stopped_and_those_delivered_were_stopped_for_nothing() -> None:
    entries = [
        webhook(1, 0, ("wamid.before", "sent", 0)),
        webhook(2, 60, ("wamid.bad", "failed", 368)),
        webhook(3, 120, ("wamid.lost", "sent", 0), ("wamid.fine", "sent", 0)),
        webhook(4, 180, ("wamid.fine", "delivered", 0), ("wamid.before", "delivered", 0)),
        webhook(5, 1_000, ("wamid.after", "sent", 0)),
    ]

    found = report(SHORT, entries)

    (effect,) = found.effects
    assert (effect.firings, effect.actions, effect.paused_seconds) == (1, {"pause": 1}, 600.0)
    assert (found.messages, found.stopped, found.false_stops) == (5, 2, 1)
    assert effect.examples == ["wamid.lost", "wamid.fine"]


def test_what_only_a_human_ends_is_taken_as_resumed_after_a_while() -> None:
    entries = [webhook(1, 0, ("wamid.1", "failed", 368)), webhook(2, 7_200, ("wamid.2", "sent", 0))]

    hour, never = report(BLOCK, entries), report(BLOCK, entries, None)

    assert (hour.effects[0].paused_seconds, hour.stopped) == (3_600.0, 0)
    assert (never.effects[0].paused_seconds, never.stopped) == (7_200.0, 1)


def test_operators_acts_are_left_out_and_time_passes() -> None:
    act = msgspec.json.encode(PausePlaced("ann", "why", "all", "", "all", None))
    text = (
        "rules: [{name: silent, match: {kind: status}, absent: {for: 5m}, actions: [{pause: {scope: all, for: 1h}}]}]"
    )
    entries = [
        webhook(1, 0, ("wamid.1", "sent", 0)),
        Entry(2, OPERATOR, NOW + 1, act, ""),
        Entry(3, TICK, NOW + 900, msgspec.json.encode(Tick(NOW + 900, ())), ""),
    ]

    found = report(text, entries)

    assert [(pause.rule, pause.since) for pause in found.pauses] == [("silent", NOW + 300)]


def test_shadows_are_enforced_where_that_is_wanted() -> None:
    shadow = rule_files.load([("rules.yml", SHORT.replace("name: block,", "name: block, mode: shadow,").encode())])

    assert [row["mode"] for row in backtests.table(report(SHORT, []), {rule.name: rule for rule in shadow.rules})] == [
        "shadow"
    ]


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """Live through an hour of trouble; return the configuration."""
    rules = Path(__file__).parents[1] / "rules" / "monitor"
    file = tmp_path / "monitor.yml"
    file.write_text(
        "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}\nstore: {url: sqlite:///monitor.db}\n"
        f"rules: {{files: ['{rules}/core.yml', '{rules}/extra.yml']}}\n"
    )
    built = application.build(config.load(file), file)
    await built.start()
    for number in range(12):
        items = [payloads.status(f"wamid.{number}", "failed", time.time(), codes=(506 if number % 2 else 131056,))]
        await hear(built, payloads.change(NUMBER, statuses=items))
    await hear(built, payloads.change(NUMBER, errors=[payloads.error(368)]))
    memory = built.pipeline.memory
    live = [memory.standing.pauses.values(), memory.standing.flags.values(), memory.firings.values()]
    (tmp_path / "live").write_bytes(msgspec.json.encode([list(part) for part in live]))
    await built.close()
    return file


async def test_the_same_rules_do_in_a_backtest_what_they_did(journal: Path) -> None:
    loaded = config.load(journal)
    pseudonym = functools.partial(pseudonyms.recipient, loaded.hash_key())
    told = Backtest(reloads.settings(loaded), pseudonym, None)
    source = partitions.connect(loaded.store_path, SCHEMA_VERSION)
    for entry in partitions.entries(source, 0.0, 0, 1_000):
        told.take(entry)
    source.db.close()

    memory = told.memory
    found = (memory.standing.pauses, memory.standing.flags, memory.firings)
    again = [sorted(json.dumps(one) for one in json.loads(msgspec.json.encode(list(part.values())))) for part in found]
    assert again == [sorted(map(json.dumps, part)) for part in json.loads((journal.parent / "live").read_bytes())]
    assert {pause.rule for pause in memory.standing.pauses.values()} == {"policy_block", "pair_exceeded"}
    assert len(memory.firings) >= 3


async def test_the_command_prints_a_table_or_json(journal: Path) -> None:
    table = CliRunner().invoke(main, ["rules", "backtest", "--config.file", str(journal), "--since", "1d"])
    as_json = CliRunner().invoke(main, ["rules", "backtest", "--config.file", str(journal), "--json"])
    nothing = CliRunner().invoke(main, ["rules", "backtest", "--config.file", str(journal), "--since", "soon"])

    assert table.exit_code == 0, table.output
    assert "policy_block" in table.output
    assert "would have been stopped" in table.output
    effects = {effect["rule"]: effect for effect in json.loads(as_json.output)["effects"]}
    assert effects["duplicate_burst"]["actions"] == {"flag": 2, "alert": 2}
    assert effects["pair_exceeded"]["actions"] == {"pause": 6}
    assert nothing.exit_code == 2


async def test_an_event_is_explained_with_what_the_journal_holds(journal: Path) -> None:
    event = Path(__file__).parents[1] / "docs/examples/failed.json"
    body = event.read_text().replace("1764000000", str(int(time.time()))).replace("200000000000001", NUMBER)
    (journal.parent / "event.json").write_text(body)

    said = CliRunner().invoke(
        main, ["rules", "explain", str(journal.parent / "event.json"), "--config.file", str(journal), "--journal", "1h"]
    )

    assert "= 7 of 5 events within 60s" in said.output
    assert "=> duplicate_burst: flag" in said.output
