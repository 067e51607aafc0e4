"""What a reload takes up: read in another thread, and held against what runs."""

import gc
from pathlib import Path

import msgspec

from monitor import config, engine, rule_checks
from monitor.config import Loaded
from monitor.document import Mistake, Mistaken
from monitor.receive import Door
from monitor.rules import RuleSet
from monitor.sandbox import Sandbox
from monitor.step import Settings


def read(sandbox: Sandbox, path: Path, running: Loaded, *, is_loosening_acknowledged: bool) -> tuple[Loaded, Settings]:
    """Return what the files say, and how events take effect by it: with many rules neither is done at once.

    Raise Mistaken with every mistake, also for rules that would stop less than those in force unless that is what was
    wanted; ValueError for what only a restart can take up.
    """
    gc.disable()  # many rules are many young objects: looking at them again and again holds the gate for 100 ms
    try:
        with sandbox:
            loaded = config.load(
                path, web_path=running.web.path, webhook_path=running.webhook.path, reader=sandbox.read
            )
        loaded = msgspec.structs.replace(loaded, must_be_closed=running.must_be_closed)
        _check_fixed(running, loaded)
        _check_closed(loaded)
        if not is_loosening_acknowledged:
            _check_loosened(running, loaded)
        return loaded, settings(loaded)
    finally:
        gc.enable()


def settings(loaded: Loaded, rule_set: RuleSet | None = None) -> Settings:
    """Return how events take effect under a configuration, or under other rules than its own."""
    return Settings(
        engine.plan(rule_set or loaded.rule_set, loaded.catalogue()),
        loaded.policy(),
        loaded.naming(),
        loaded.config.campaigns.reply_within,
        loaded.config.resends.from_catalogue,
        loaded.config.gate.follow_meta,
    )


def door(loaded: Loaded) -> Door:
    """Return whom the public listener lets in."""
    return Door(
        loaded.config.webhook.path,
        tuple(secret.reveal().encode() for secret in loaded.app_secrets),
        tuple(token.reveal().encode() for token in loaded.verify_tokens),
    )


def _check_fixed(old: Loaded, new: Loaded) -> None:
    """Raise ValueError for a change that only a restart can take up."""
    fixed = {
        "store.url": (old.store_path, new.store_path),
        "tracing": (old.config.tracing, new.config.tracing),
        "privacy": (old.hash_keys(), new.hash_keys()),
        "metrics.series_most": (old.config.metrics.series_most, new.config.metrics.series_most),
    }
    changed = [name for name, (before, after) in fixed.items() if before != after]
    if changed:
        raise ValueError(f"{', '.join(changed)}: can't change while running; restart to take it up")


def _check_closed(new: Loaded) -> None:
    """Raise ValueError where the internal listener would be open to everybody."""
    if new.must_be_closed and not new.is_closed:
        raise ValueError(
            "the internal listener can be reached from other machines, and nobody would be asked who they are: leave a "
            "token, a user or client certificates, or restart on loopback or with --web.insecure"
        )


def _check_loosened(old: Loaded, new: Loaded) -> None:
    """Raise Mistaken where other rules would stop less than those in force."""
    told = "; nothing was reloaded: repeat with --acknowledge-loosening if that is meant"
    found = [Mistake("rules", 0, 0, "", f"{one}{told}") for one in rule_checks.loosened(old.rule_set, new.rule_set)]
    if found:
        raise Mistaken(found)
