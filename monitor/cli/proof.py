"""`rules explain` and `rules backtest`: what rules say of one event, and what they would have done to a journal."""

import functools
import io
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from monitor import (
    actions,
    backtests,
    codes,
    config,
    durations,
    engine,
    explanations,
    parse,
    partitions,
    pseudonyms,
    reloads,
    rule_files,
)
from monitor.actions import Pause, is_in_force
from monitor.backtests import Backtest, Report
from monitor.campaigns import NO_NAMING
from monitor.cli import mistakes, options, output
from monitor.config import Loaded
from monitor.document import Mistaken
from monitor.events import MetaEvent, Unparsed
from monitor.facts import Fact
from monitor.messages import DEFAULT_POLICY
from monitor.partitions import UnreadableError
from monitor.rules import ENFORCE, SHADOW, RuleSet, enforced
from monitor.step import Settings
from monitor.store.opening import SCHEMA_VERSION
from monitor.store.protocol import Entry

FAILED, WRONG = 1, 2
ENTRIES_AT_ONCE = 500
_files = click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
_config = options.config_file("Configuration file: where the store is, and the rules where no FILES are given.")


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else durations.parse(value)
        except ValueError as error:
            self.fail(str(error), param, context)


@click.command()
@click.argument("event_file", type=click.File("rb"))
@_files
@_config
@click.option("--journal", "since", type=_Duration(), help="First fill the windows from this long of the journal.")
@click.option(
    "--now", "is_now", is_flag=True, help="Judge the event's age by the clock; otherwise it has just happened."
)
@click.option("--matching", is_flag=True, help="Leave out rules that the event does not match.")
@output.json_option
def explain(
    event_file: io.BufferedReader,
    files: tuple[Path, ...],
    config_file: Path,
    since: float | None,
    is_now: bool,
    matching: bool,
    as_json: bool,
) -> None:
    """Explain what rules FILES say of the webhook body in EVENT_FILE (- for standard input), fact by fact."""
    body = event_file.read()
    loaded = _loaded(config_file) if since is not None or not files else None
    settings = _settings(_rules(files, loaded), loaded)
    key = loaded.hash_key() if loaded is not None else b"explain"
    events = parse.delivery(body, time.time(), functools.partial(pseudonyms.recipient, key))
    if all(isinstance(event, Unparsed) for event in events):
        why = _not_json(body) or "there is no event in it"
        _fail(f"{event_file.name}: {why}: a webhook body as Meta posts it is wanted", WRONG)
    told = Backtest(settings, functools.partial(pseudonyms.recipient, key), None)
    now = time.time() if is_now or since is not None else max(event.occurred_at for event in events)
    if since is not None and loaded is not None:
        for entry in _entries(loaded, now - since):
            told.take(entry)
    shown = [_explained(told, event, now, matching=matching, as_json=as_json) for event in events]
    if as_json:
        click.echo(json.dumps(shown, indent=2))


@click.command()
@_files
@_config
@click.option("--since", type=_Duration(), default="7d", show_default=True, help="How far back to begin.")
@click.option(
    "--resumed-after",
    type=_Duration(),
    default="1h",
    show_default=True,
    help="When somebody would have resumed what only a human ends.",
)
@click.option("--as-written", is_flag=True, help="Leave rules in shadow mode as shadows; otherwise all are enforced.")
@output.json_option
def backtest(
    files: tuple[Path, ...], config_file: Path, since: float, resumed_after: float, as_written: bool, as_json: bool
) -> None:
    """Run rules FILES over the journal: firings, paused minutes, messages stopped, and which of them had arrived."""
    loaded = _loaded(config_file)
    written = _rules(files, loaded)
    settings = _settings(written if as_written else enforced(written), loaded)
    pseudonym = functools.lru_cache(4096)(functools.partial(pseudonyms.recipient, loaded.hash_key()))
    told = Backtest(settings, pseudonym, resumed_after)
    for entry in _shown(loaded, time.time() - since):
        told.take(entry)
    report = told.report()
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(report), indent=2))
    else:
        _print(report, written)


def _print(report: Report, rules: RuleSet) -> None:
    columns = (
        "rule", "mode", "firings", "actions", "paused_minutes", "throttled_minutes", "stopped", "false_stops",
    )  # fmt: skip
    lines = backtests.table(report, {rule.name: rule for rule in rules.rules})
    output.show({"rules": lines}, "rules", columns, False, "No rules.")
    hours = (report.until - report.since) / 3600
    click.echo(
        f"{report.entries} journal entries over {hours:.1f} hours, {report.messages} messages: {report.stopped} would "
        f"have been stopped, of which {report.false_stops} were delivered anyway (false pauses)."
    )


def _explained(told: Backtest, event: MetaEvent, now: float, *, matching: bool, as_json: bool) -> dict[str, Any]:
    plan = told.settings.plan
    facts = told.hear(event, now)
    found = explanations.of(plan, told.windows, event, told.message(event), now)
    late = [rule for fact in facts for rule in fact.late]
    done = [(action.rule, actions.name(action), mode) for mode, action in _acted(facts)]
    live = [pause for fact in facts for pause in fact.changes if isinstance(pause, Pause) and is_in_force(pause, now)]
    if matching:
        found = [one for one in found if one.is_matched]
    if not as_json:
        click.echo(f"{type(event).__name__} {getattr(event, 'wamid', '') or event.key}")
        for line in explanations.text(found, plan.rules):
            click.echo(f"  {line}")
        for rule in late:
            click.echo(f"  {rule}: ignored, since the event is older than its max_age")
        for rule, action, mode in done:
            click.echo(f"  => {rule}: {action}{'' if mode == ENFORCE else ' (only a shadow: not done)'}")
        if not done:
            click.echo("  => nothing is done")
    return {
        "event": msgspec.to_builtins(event),
        "rules": [msgspec.to_builtins(one) for one in found],
        "late": late,
        "actions": [{"rule": rule, "action": action, "mode": mode} for rule, action, mode in done],
        "pauses": [msgspec.to_builtins(pause) for pause in live],
    }


def _acted(facts: Iterable[Fact]) -> Iterator[tuple[str, actions.Action]]:
    for fact in facts:
        yield from ((ENFORCE, action) for action in fact.actions)
        yield from ((SHADOW, action) for action in fact.shadowed)


def _not_json(body: bytes) -> str:
    """Return why a body is no JSON and where, empty where it is some."""
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        return f"not JSON at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        return "not JSON"
    return ""


def _rules(files: tuple[Path, ...], loaded: Loaded | None) -> RuleSet:
    if files or loaded is None:
        try:
            return rule_files.load((str(file), file.read_bytes()) for file in files)
        except Mistaken as error:
            mistakes.end(error)
    return loaded.rule_set


def _settings(rules: RuleSet, loaded: Loaded | None) -> Settings:
    """Return how events take effect; without a configuration as where it says nothing."""
    if loaded is not None:
        return reloads.settings(loaded, rules)
    return Settings(engine.plan(rules, codes.catalogue()), DEFAULT_POLICY, NO_NAMING, 0.0, False)


def _loaded(file: Path) -> Loaded:
    try:
        return config.load(file)
    except Mistaken as error:
        mistakes.end(error)


def _shown(loaded: Loaded, since: float) -> Iterator[Entry]:
    """Yield entries under a progress bar, where somebody looks."""
    with output.progress("backtesting", _count(loaded, since), _entries(loaded, since)) as bar:
        yield from bar


def _count(loaded: Loaded, since: float) -> int:
    source = _source(loaded)
    with closing(source.db):
        return partitions.entry_count(source, since)


def _entries(loaded: Loaded, since: float) -> Iterator[Entry]:
    source = _source(loaded)
    after = 0
    with closing(source.db):
        try:
            while found := partitions.entries(source, since, after, ENTRIES_AT_ONCE):
                yield from found
                after = found[-1].position
        except UnreadableError as error:
            _fail(str(error), FAILED)


def _source(loaded: Loaded) -> partitions.Source:
    try:
        return partitions.connect(loaded.store_path, SCHEMA_VERSION)
    except UnreadableError as error:
        _fail(str(error), FAILED)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"whatsapp-monitor: {message}", err=True)
    sys.exit(code)
