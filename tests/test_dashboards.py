"""The Grafana dashboards: built from their source, complete, and about metrics that exist."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import promql

ROOT = Path(__file__).parents[1]
DASHBOARDS = ROOT / "dashboards"
PROVISIONING = DASHBOARDS / "provisioning"
RUNBOOKS_URL = "https://github.com/whatsapp-monitor/whatsapp-monitor/blob/main/docs/runbooks/"
PROMETHEUS_OWN = {"up", "ALERTS"}
COUNTERS = ("_total", "_bucket", "_count", "_sum")
NAMES = ("overview", "rules")


def committed(name: str) -> dict[str, Any]:
    """Return a dashboard as committed."""
    read: dict[str, Any] = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
    return read


def panels() -> dict[str, dict[str, Any]]:
    """Return the panels of all dashboards by title, rows excepted."""
    found = [panel for name in NAMES for panel in committed(name)["panels"]]
    return {panel["title"]: panel for panel in found if panel["type"] != "row"}


def variables(name: str) -> dict[str, dict[str, Any]]:
    """Return a dashboard's variables by name."""
    return {variable["name"]: variable for variable in committed(name)["templating"]["list"]}


def queries(title: str) -> list[str]:
    """Return a panel's queries as they stand in the dashboard."""
    return [target["expr"] for target in panels()[title]["targets"]]


def filled(query: str) -> str:
    """Return the query with values in the place of Grafana's variables."""
    values = {"$__rate_interval": "5m", "$__range": "6h", "$waba_id": ".*", "$phone_number_id": ".*"}
    for variable, value in values.items():
        query = query.replace(variable, value)
    return query


def test_rebuilding_gives_the_committed_dashboards(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboards.src", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    built = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    kept = {path.name: path.read_bytes() for path in DASHBOARDS.glob("*.json")}
    assert done.returncode == 0, done.stderr
    assert built == kept, "run `python -m dashboards.src` and commit what it writes"


@pytest.mark.parametrize("name", NAMES)
def test_the_json_is_sorted_indented_and_ends_with_a_newline(name: str) -> None:
    text = (DASHBOARDS / f"{name}.json").read_text(encoding="utf-8")

    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_has_an_address_that_stays(name: str) -> None:
    found = committed(name)

    assert (found["uid"], found["title"]) == (f"whatsapp-{name}", f"WhatsApp {name}")
    assert found["tags"]
    assert found.get("id") is None
    assert "__inputs" not in found


def test_the_data_source_is_a_variable_that_every_panel_and_query_takes() -> None:
    wanted = {"type": "prometheus", "uid": "${datasource}"}

    users = [*panels().values(), *(target for panel in panels().values() for target in panel["targets"])]

    for name in NAMES:
        source = variables(name)["datasource"]
        assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert all(user["datasource"] == wanted for user in users)


@pytest.mark.parametrize("name", ["waba_id", "phone_number_id"])
def test_senders_are_chosen_by_a_variable_that_takes_several_and_all(name: str) -> None:
    variable = variables("overview")[name]

    selector = variable["query"].removeprefix("label_values(").removesuffix(f", {name})")
    assert variable["multi"]
    assert variable["includeAll"]
    assert variable["datasource"]["uid"] == "${datasource}"
    assert {one.metric for one in promql.selected(filled(selector))} <= promql.exported_metrics()


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_numbers_and_titles_of_their_own_and_do_not_overlap(name: str) -> None:
    found = committed(name)["panels"]

    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in found)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len({panel["id"] for panel in found}) == len(found)
    assert len({panel["title"] for panel in found}) == len(found)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("title", panels())
def test_a_panel_has_a_title_a_description_a_unit_and_queries(title: str) -> None:
    panel = panels()[title]

    assert title
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("title", panels())
def test_a_panel_selects_only_metrics_that_exist(title: str) -> None:
    selected = [one for query in queries(title) for one in promql.selected(filled(query))]

    assert selected
    assert {one.metric for one in selected} <= promql.exported_metrics() | PROMETHEUS_OWN


@pytest.mark.parametrize("title", panels())
def test_a_panel_takes_counters_only_inside_rate_or_increase(title: str) -> None:
    selected = [one for query in queries(title) for one in promql.selected(filled(query))]

    counters = [one for one in selected if one.metric.endswith(COUNTERS)]

    assert {one.function for one in counters} <= {"rate", "increase"}


@pytest.mark.parametrize("title", panels())
def test_a_panel_takes_rates_over_the_rate_interval_and_totals_over_the_time_range(title: str) -> None:
    wanted = "$__range" if panels()[title]["type"] == "bargauge" else "$__rate_interval"

    for query in queries(title):
        functions = {one.function for one in promql.selected(filled(query))}

        ranges = set(re.findall(r"\[(.+?)\]", query))
        assert ranges == ({wanted} if functions & {"rate", "increase"} else set())


def test_links_lead_to_the_status_page_the_runbooks_and_pages_that_exist() -> None:
    links = {link["title"]: link["url"] for name in NAMES for link in committed(name)["links"]}
    runbooks = [link["url"] for panel in panels().values() for link in panel.get("links", [])]

    pages = [ROOT / "docs" / "runbooks" / url.removeprefix(RUNBOOKS_URL) for url in runbooks]

    assert links["Status page"] == "${status_page}/"
    assert (links["Overview"], links["Rules"]) == tuple(f"/d/whatsapp-{name}" for name in NAMES)
    assert links["Runbooks"].endswith("/docs/runbooks")
    assert runbooks
    assert all(page.is_file() for page in pages)


def test_the_rules_dashboard_shows_what_fires_what_is_throttled_and_what_came_too_late() -> None:
    titles = [panel["title"] for panel in committed("rules")["panels"][1:7]]

    shown = {one.metric for title in titles for query in queries(title) for one in promql.selected(filled(query))}

    assert shown == {
        "whatsapp_monitor_rule_firings",
        "whatsapp_gate_throttled_per_second",
        "whatsapp_monitor_rule_late_events_total",
    }


def test_the_provisioning_files_load_a_prometheus_and_the_dashboards() -> None:
    source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "whatsapp-monitor.yml").read_text(encoding="utf-8"))

    assert source["apiVersion"] == provider["apiVersion"] == 1
    assert [one["type"] for one in source["datasources"]] == ["prometheus"]
    assert [one["options"]["path"] for one in provider["providers"]] == ["/var/lib/grafana/dashboards/whatsapp-monitor"]
