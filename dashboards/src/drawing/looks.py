"""How a panel of a dashboard wants its values shown: legends, colours, mappings, thresholds."""

import re
from typing import Any, NamedTuple

from dashboards.src.drawing import svg


class Shown(NamedTuple):
    """A word and its colour."""

    words: str
    color: str


def legend(template: str, labels: dict[str, str]) -> str:
    """Return the name of a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template).strip()


def mapped(mappings: list[dict[str, Any]], value: float) -> Shown | None:
    """Return what a value is mapped to, None where it is shown as a number."""
    for mapping in mappings:
        result = mapping["options"].get(f"{value:g}")
        if result is not None:
            return Shown(result["text"], svg.color(result["color"]))
    return None


def by_threshold(panel: dict[str, Any], value: float) -> str:
    """Return the colour of the highest threshold that a value reaches, green where there is none."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return svg.color(reached[-1] if reached else "green")


def overridden(panel: dict[str, Any], name: str, wanted: str) -> Any:
    """Return a property of the series or column of that name, None where the panel says nothing of it."""
    overrides = [one for one in panel["fieldConfig"].get("overrides", []) if one["matcher"]["options"] == name]
    found = [one["value"] for override in overrides for one in override["properties"] if one["id"] == wanted]
    return found[0] if found else None


def series_color(panel: dict[str, Any], name: str, place: int) -> str:
    """Return the colour of a series: its own, or the next of the palette."""
    fixed = overridden(panel, name, "color")
    return svg.color(fixed["fixedColor"]) if fixed else svg.PALETTE[place % len(svg.PALETTE)]


def unit(panel: dict[str, Any]) -> str:
    """Return the panel's unit."""
    return str(panel["fieldConfig"]["defaults"]["unit"])
