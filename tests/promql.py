"""What PromQL expressions select, and what the monitor exports."""

from pathlib import Path
from typing import NamedTuple

import promql_parser
from prometheus_client import CollectorRegistry
from promql_parser import Call, Expr, VectorSelector

from monitor import codes
from monitor.memory import Memory
from monitor.metrics import Metrics
from monitor.readings import Readings
from monitor.store.room import Room
from tests import setting


class Selected(NamedTuple):
    """One selector of an expression: its metric and the innermost function around it, empty for none."""

    metric: str
    function: str


def selected(expression: str) -> list[Selected]:
    """Return the selectors of an expression; raises ValueError where it can't be parsed."""
    found: list[Selected] = []
    functions = [""]

    def enter(node: Expr) -> None:
        match node:
            case Call():
                functions.append(node.func.name)
            case VectorSelector():
                found.append(Selected(node.name or "", functions[-1]))

    def leave(node: Expr) -> None:
        if isinstance(node, Call):
            functions.pop()

    promql_parser.walk(promql_parser.parse(expression), enter, leave)
    return found


def exported_metrics() -> set[str]:
    """Return every series name that the monitor exports."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, codes.catalogue())
    readings = Readings(
        clock=lambda: 0.0,
        catalogue=codes.catalogue,
        pauses=lambda: (),
        flags=lambda: (),
        firings=lambda: (),
        backlog=dict,
        resends=dict,
        lag_events=lambda: 0,
        followers=lambda: 1,
        journal_bytes=lambda: 0,
        lost_entries=0,
        clock_off_seconds=lambda: 0.0,
        caps=metrics.caps,
        room=Room(Path()),
    )
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    families = [*registry.collect(), *readings.collect(), *setting.statements(metrics, Memory()).collect()]
    return {family.name + ending for family in families for ending in endings.get(family.type, ("",))}
