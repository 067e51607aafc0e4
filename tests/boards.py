"""The committed dashboards, taken apart: panels, variables, annotations, with Grafana's variables filled in."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DASHBOARDS = ROOT / "dashboards"
TITLES = {
    "overview": "WhatsApp overview",
    "phone-number": "WhatsApp phone number",
    "errors": "WhatsApp errors and policy",
    "campaigns": "WhatsApp campaigns and templates",
    "gate": "WhatsApp gate and duplicates",
    "rules": "WhatsApp rules",
    "monitor": "WhatsApp monitor",
}
VALUES = {
    "$__rate_interval": "5m",
    "$__range": "6h",
    "$job": ".+",
    "$instance": ".+",
    "$waba_id": ".*",
    "$phone_number_id": ".*",
    "$campaign": ".*",
}


class Panel(NamedTuple):
    """One panel of one dashboard, rows excepted."""

    board: str
    title: str
    json: dict[str, Any]

    @property
    def queries(self) -> list[str]:
        """Its queries as they stand."""
        return [target["expr"] for target in self.json["targets"]]


def committed(name: str) -> dict[str, Any]:
    """Return a dashboard as committed."""
    read: dict[str, Any] = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
    return read


def panels() -> list[Panel]:
    """Return the panels of all dashboards."""
    return [
        Panel(name, panel["title"], panel)
        for name in TITLES
        for panel in committed(name)["panels"]
        if panel["type"] != "row"
    ]


def variables(name: str) -> dict[str, dict[str, Any]]:
    """Return a dashboard's variables by name."""
    return {variable["name"]: variable for variable in committed(name)["templating"]["list"]}


def selectors(name: str) -> dict[str, tuple[str, str]]:
    """Return the selector and the label that each query variable of a dashboard asks for."""
    found = {}
    for variable in variables(name).values():
        if variable["type"] == "query":
            selector, _, label = variable["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
            found[variable["name"]] = (selector, label)
    return found


def annotations(name: str) -> list[dict[str, Any]]:
    """Return what a dashboard marks in its panels."""
    found: list[dict[str, Any]] = committed(name)["annotations"]["list"]
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield every query of panels and annotations, and the selector of every variable, with where it stands."""
    for panel in panels():
        for query in panel.queries:
            yield f"{panel.board}: {panel.title}", query
    for name in TITLES:
        for annotation in annotations(name):
            yield f"{name}: annotation {annotation['name']}", annotation["expr"]
        for variable, (selector, _) in selectors(name).items():
            yield f"{name}: variable {variable}", selector


def filled(query: str, values: Mapping[str, str] = VALUES) -> str:
    """Return the query with values in the place of Grafana's variables."""
    for variable in sorted(values, key=len, reverse=True):
        query = query.replace(variable, values[variable])
    return query
