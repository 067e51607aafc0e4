"""Settings and statements for tests, with what a configuration would say left out."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from monitor import codes, engine, rule_files
from monitor.campaigns import Naming
from monitor.codes import Catalogue
from monitor.memory import Memory
from monitor.messages import DEFAULT_POLICY, Policy
from monitor.metrics import Metrics
from monitor.statements import Statements
from monitor.step import Settings

CORE = (Path(__file__).parents[1] / "rules" / "monitor" / "core.yml").read_bytes()


def settings(
    text: bytes = CORE,
    *,
    policy: Policy = DEFAULT_POLICY,
    naming: Naming | None = None,
    catalogue: Catalogue | None = None,
    reply_seconds: float = 86400.0,
    by_catalogue: bool = True,
    follows_meta: bool = False,
) -> Settings:
    """Return settings with the core rules."""
    plan = engine.plan(rule_files.load([("rules.yml", text)]), catalogue or codes.catalogue())
    return Settings(plan, policy, naming or Naming(), reply_seconds, by_catalogue, follows_meta)


def statements(metrics: Metrics, memory: Memory, now: float = 0.0) -> Statements:
    """Return the collector over a memory, without campaigns and silent messages."""
    return Statements(metrics, memory, clock=lambda: now, idle_seconds=lambda: 86400.0, campaigns=list, silent=dict)


def metrics() -> Metrics:
    """Return metrics on a registry of their own."""
    return Metrics(CollectorRegistry(), codes.catalogue())
