"""The dashboards follow the rules of Grafana's public dashboard-linter; dashboards/.lint says what is left out."""

import re

import pytest
import yaml

from tests import boards, promql
from tests.boards import DASHBOARDS, TITLES, Panel, filled

WANTED_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {
    "bytes", "cpm", "dateTimeAsIso", "dateTimeFromNow", "eps", "mps", "none", "percentunit", "reqps", "s", "short",
}  # fmt: skip
COUNTERS = ("_total", "_bucket", "_count", "_sum")
GROWTH = {"rate", "irate", "increase"}
ON_TIME_RANGE_CHANGE = 2


def excluded(rule: str) -> set[tuple[str, str]]:
    """Return dashboard and panel of each exclusion from a rule."""
    exclusions = yaml.safe_load((DASHBOARDS / ".lint").read_text(encoding="utf-8"))["exclusions"]
    return {(entry["dashboard"], entry["panel"]) for entry in exclusions.get(rule, {}).get("entries", [])}


def every_panel() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("panel", boards.panels(), ids=lambda panel: f"{panel.board}: {panel.title}")


def matched(query: str) -> list[str]:
    """Return what stands in the braces of each selector of a query; `` for one without braces."""
    names = "|".join(re.escape(one.metric) for one in promql.selected(filled(query)))
    return [found[1] or "" for found in re.findall(rf"\b({names})\b(\{{[^}}]*\}})?", query)]


@pytest.mark.parametrize("name", TITLES)
def test_template_datasource_rule(name: str) -> None:
    sources = [one for one in boards.variables(name).values() if one["type"] == "datasource"]

    assert [(one["name"], one["label"], one["query"]) for one in sources] == [
        ("datasource", "Data source", "prometheus")
    ]


@pytest.mark.parametrize("label", ["job", "instance"])
@pytest.mark.parametrize("name", TITLES)
def test_template_job_and_instance_rules(name: str, label: str) -> None:
    variable = boards.variables(name)[label]

    assert variable["datasource"]["uid"] == "${datasource}"
    assert (variable["type"], variable["label"], variable["multi"]) == ("query", label.capitalize(), True)
    assert (variable["includeAll"], variable["allValue"]) == (True, ".+")


@pytest.mark.parametrize("name", TITLES)
def test_template_label_promql_rule(name: str) -> None:
    for selector, label in boards.selectors(name).values():
        assert promql.selected(filled(selector))
        assert re.fullmatch(r"[a-z_]+", label)


@pytest.mark.parametrize("name", TITLES)
def test_template_on_time_change_reload_rule(name: str) -> None:
    queried = [one for one in boards.variables(name).values() if one["type"] == "query"]

    assert {one["refresh"] for one in queried} == {ON_TIME_RANGE_CHANGE}


@pytest.mark.parametrize("name", [name for name in TITLES if name not in {"rules", "monitor"}])
def test_senders_are_chosen_by_variables_that_take_several_and_all(name: str) -> None:
    for label in ("waba_id", "phone_number_id"):
        variable = boards.variables(name)[label]

        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".*")
        assert any(f'{label}=~"${label}' in query for panel in boards.panels() if panel.board == name
                   for query in panel.queries)  # fmt: skip


@pytest.mark.parametrize("name", TITLES)
def test_uneditable_dashboard_rule(name: str) -> None:
    assert boards.committed(name)["editable"] is False


@every_panel()
def test_panel_datasource_rule(panel: Panel) -> None:
    assert all(user["datasource"] == WANTED_SOURCE for user in (panel.json, *panel.json["targets"]))


@every_panel()
def test_panel_title_description_rule(panel: Panel) -> None:
    assert panel.title
    assert panel.json["description"].endswith(".")


@every_panel()
def test_panel_units_rule(panel: Panel) -> None:
    defaults = panel.json["fieldConfig"]["defaults"]

    assert defaults["unit"] in UNITS
    assert defaults["unit"] != "none" or defaults.get("mappings") or panel.json["type"] == "table"


@every_panel()
def test_panel_no_targets_rule(panel: Panel) -> None:
    assert panel.json["targets"]
    assert len({target["refId"] for target in panel.json["targets"]}) == len(panel.json["targets"])


def test_target_promql_rule() -> None:
    found = list(boards.queries())

    assert len(found) > 200
    assert all(promql.selected(filled(query)) for _, query in found)


@every_panel()
def test_target_rate_interval_rule(panel: Panel) -> None:
    """Rates are over Grafana's own interval; totals over the time range are increases of tables, bars and numbers."""
    for query in panel.queries:
        for function, window in re.findall(r"(\w+)\([^()\[]*\[([^\]]+)\]", query):
            if function in {"rate", "irate"} or panel.json["type"] in {"timeseries", "state-timeline"}:
                assert window == "$__rate_interval", query
            elif function == "increase":
                assert window in {"$__rate_interval", "$__range"}, query


@every_panel()
def test_target_counter_agg_rule(panel: Panel) -> None:
    selected = [one for query in panel.queries for one in promql.selected(filled(query))]

    counters = [one for one in selected if one.metric.endswith(COUNTERS)]

    assert {one.function for one in counters} <= GROWTH


@pytest.mark.parametrize("label", ["job", "instance"])
@every_panel()
def test_target_job_and_instance_rules(panel: Panel, label: str) -> None:
    if (TITLES[panel.board], panel.title) in excluded(f"target-{label}-rule"):
        return
    for query in panel.queries:
        assert all(f'{label}=~"${label}"' in matchers for matchers in matched(query)), query


def test_every_exclusion_has_a_reason_and_a_panel() -> None:
    exclusions = yaml.safe_load((DASHBOARDS / ".lint").read_text(encoding="utf-8"))["exclusions"]
    panels = {(TITLES[panel.board], panel.title) for panel in boards.panels()}

    for rule, said in exclusions.items():
        assert said["reason"]
        assert excluded(rule) <= panels
