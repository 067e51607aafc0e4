"""The Grafana dashboards: built from their source, complete, and about metrics that exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import boards, promql
from tests.boards import DASHBOARDS, ROOT, TITLES, Panel, filled

PROVISIONING = DASHBOARDS / "provisioning"
RUNBOOKS_URL = "https://github.com/whatsapp-monitor/whatsapp-monitor/blob/main/docs/runbooks/"
UNBOUNDED = {"waba_id", "phone_number_id", "code", "rule", "destination", "campaign", "template", "instance"}
PROMETHEUS_OWN = {"up", "ALERTS"}


def every_panel() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("panel", boards.panels(), ids=lambda panel: f"{panel.board}: {panel.title}")


def every_dashboard() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", TITLES)


def test_rebuilding_gives_the_committed_dashboards(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboards.src", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    built = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    kept = {path.name: path.read_bytes() for path in DASHBOARDS.glob("*.json")}
    assert done.returncode == 0, done.stderr
    assert built == kept, "run `python -m dashboards.src` and commit what it writes"
    assert {f"{name}.json" for name in TITLES} == kept.keys()


@every_dashboard()
def test_the_json_is_sorted_indented_and_ends_with_a_newline(name: str) -> None:
    text = (DASHBOARDS / f"{name}.json").read_text(encoding="utf-8")

    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@every_dashboard()
def test_a_dashboard_has_an_address_that_stays(name: str) -> None:
    found = boards.committed(name)

    assert (found["uid"], found["title"]) == (f"whatsapp-{name}", TITLES[name])
    assert found["tags"] == ["whatsapp", "whatsapp-monitor"]
    assert found["description"].endswith(".")
    assert found.get("id") is None
    assert "__inputs" not in found


@every_dashboard()
def test_panels_have_numbers_and_titles_of_their_own_and_do_not_overlap(name: str) -> None:
    found = boards.committed(name)["panels"]

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


@every_dashboard()
def test_rows_of_panels_leave_no_hole(name: str) -> None:
    places = [panel["gridPos"] for panel in boards.committed(name)["panels"]]

    for y in {place["y"] for place in places}:
        row = [place for place in places if place["y"] == y]
        assert sum(place["w"] for place in row) == 24, y
        assert len({place["h"] for place in row}) == 1, y


@every_panel()
def test_a_panel_selects_only_metrics_that_exist(panel: Panel) -> None:
    selected = [one for query in panel.queries for one in promql.selected(filled(query))]

    assert selected
    assert {one.metric for one in selected} <= promql.exported_metrics() | PROMETHEUS_OWN


def test_annotations_and_variables_select_only_metrics_that_exist() -> None:
    others = [query for place, query in boards.queries() if "annotation" in place or "variable" in place]

    selected = [one for query in others for one in promql.selected(filled(query))]

    assert {one.metric for one in selected} <= promql.exported_metrics()


def test_every_metric_of_ours_has_a_panel() -> None:
    shown = {
        one.metric for panel in boards.panels() for query in panel.queries for one in promql.selected(filled(query))
    }

    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in promql.exported_metrics()}
    missing = families - {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}

    assert missing == {
        "whatsapp_account_review_change_timestamp_seconds",  # the band itself shows when it changed
        "whatsapp_messaging_limit_change_timestamp_seconds",
        "whatsapp_monitor_config_last_reload_success_timestamp_seconds",  # an annotation
        "whatsapp_phone_number_info",  # the variables
        "whatsapp_template_quality_change_timestamp_seconds",
    }


@pytest.mark.parametrize("name", ["overview", "phone-number", "errors", "gate"])
def test_whether_sending_is_allowed_and_since_when_stand_top_left(name: str) -> None:
    first, second = [panel for panel in boards.panels() if panel.board == name][:2]

    shown = {one.metric for query in first.queries for one in promql.selected(filled(query))}

    assert [(one.title, one.json["gridPos"]["y"]) for one in (first, second)] == [("Sending", 1), ("Paused since", 1)]
    assert first.json["gridPos"]["x"] == 0
    assert shown >= {"whatsapp_gate_paused", "whatsapp_gate_probing", "whatsapp_gate_throttled_per_second"}
    assert {one["text"] for mapping in first.json["fieldConfig"]["defaults"]["mappings"]
            for one in mapping["options"].values()} == {"Allowed", "Throttled", "Probing", "Paused"}  # fmt: skip


@every_panel()
def test_a_panel_of_many_series_is_cut(panel: Panel) -> None:
    for target in panel.json["targets"]:
        many = UNBOUNDED & set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))

        assert not many or re.match(r"(topk|bottomk)\(", target["expr"])


@every_dashboard()
def test_pauses_reloads_and_drills_are_marked(name: str) -> None:
    marks = {one["name"]: one for one in boards.annotations(name)}

    metrics = {title: {one.metric for one in promql.selected(filled(mark["expr"]))} for title, mark in marks.items()}

    assert metrics == {
        "Pauses": {"whatsapp_gate_paused"},
        "Reloads": {"whatsapp_monitor_config_last_reload_success_timestamp_seconds"},
        "Drills": {"whatsapp_drill_timestamp_seconds"},
    }
    assert all(mark["enable"] and mark["datasource"]["uid"] == "${datasource}" for mark in marks.values())
    assert [name for name, mark in marks.items() if mark.get("useValueForTime")] == ["Reloads", "Drills"]


def test_exemplars_lead_from_the_times_of_messages_to_their_traces() -> None:
    asked = {panel.title for panel in boards.panels() for target in panel.json["targets"] if target.get("exemplar")}
    (source, *_) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    (tempo,) = yaml.safe_load((PROVISIONING / "datasources" / "tempo.yml").read_text())["datasources"]

    (destination,) = source["jsonData"]["exemplarTraceIdDestinations"]

    assert asked == {"Time to delivery", "Time to delivery by category", "Time until read"}
    assert (destination["name"], destination["datasourceUid"]) == ("trace_id", tempo["uid"])
    assert tempo["type"] == "tempo"


@every_dashboard()
def test_links_lead_to_the_other_dashboards_the_status_page_and_the_runbooks(name: str) -> None:
    links = {link["title"]: link for link in boards.committed(name)["links"]}

    others = links["WhatsApp dashboards"]

    assert (others["type"], others["tags"], others["asDropdown"]) == ("dashboards", ["whatsapp-monitor"], True)
    assert (others["includeVars"], others["keepTime"]) == (True, True)
    assert links["Status page"]["url"] == "${status_page}/"
    assert links["Runbooks"]["url"].endswith("/docs/runbooks")


def test_panels_lead_to_runbooks_that_exist_and_to_the_status_page() -> None:
    links = [link for panel in boards.panels() for link in panel.json.get("links", [])]

    pages = {link["url"] for link in links if link["title"].startswith("Runbook: ")}

    assert {link["url"] for link in links} - pages == {"${status_page}/"}
    assert all((ROOT / "docs" / "runbooks" / url.removeprefix(RUNBOOKS_URL)).is_file() for url in pages)


def test_every_alert_has_a_panel_that_leads_to_its_runbook() -> None:
    rules = yaml.safe_load((ROOT / "rules" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    alerts = {rule["alert"] for group in rules for rule in group["rules"]}

    linked = {link["title"] for panel in boards.panels() for link in panel.json.get("links", [])}

    assert {f"Runbook: {alert}" for alert in alerts} <= linked


def test_the_rules_dashboard_shows_what_fires_what_is_throttled_and_what_is_ignored() -> None:
    first = [panel for panel in boards.panels() if panel.board == "rules"][:6]

    shown = {one.metric for panel in first for query in panel.queries for one in promql.selected(filled(query))}

    assert shown == {
        "whatsapp_monitor_build_info",
        "whatsapp_monitor_rule_firings",
        "whatsapp_gate_throttled_per_second",
        "whatsapp_monitor_rule_late_events_total",
        "whatsapp_monitor_rule_crowded_events_total",
    }
