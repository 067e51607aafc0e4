"""The alerts in their other forms: as committed, whole, and of the shapes that the operator and Grafana document."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.src import alerting
from tests import promql
from tests.test_prometheus_rules import alerts

ROOT = Path(__file__).parents[1]


def grafana_rules() -> list[dict[str, Any]]:
    return [rule for group in alerting.grafana()["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("name", alerting.files())
def test_rebuilding_gives_the_committed_files(name: str) -> None:
    committed = (ROOT / name).read_text(encoding="utf-8")

    assert committed == alerting.files()[name], "run `python -m dashboards.src` and commit what it writes"
    assert yaml.safe_load(committed)["apiVersion"] in {1, "monitoring.coreos.com/v1"}


def test_the_operator_s_rules_are_prometheus_own() -> None:
    rules = [rule for group in alerting.prometheus_rule()["spec"]["groups"] for rule in group["rules"]]

    assert {rule["alert"] for rule in rules if "alert" in rule} == alerts().keys()
    assert all({"expr"} <= rule.keys() <= {"alert", "record", "expr", "for", "labels", "annotations"} for rule in rules)


def test_the_sidecar_is_scraped_under_the_name_that_the_rules_use() -> None:
    spec = alerting.service_monitor()["spec"]

    assert spec["selector"]["matchLabels"][spec["jobLabel"]] == "whatsapp-monitor"
    assert spec["endpoints"][0]["path"] == "/metrics"


def test_grafana_has_every_alert_once_with_a_name_of_its_own() -> None:
    rules = grafana_rules()

    assert {rule["title"] for rule in rules} == alerts().keys()
    assert len({rule["uid"] for rule in rules}) == len(rules)
    assert all(len(rule["uid"]) <= 40 for rule in rules)


@pytest.mark.parametrize("rule", grafana_rules(), ids=lambda rule: str(rule["title"]))
def test_grafana_asks_what_prometheus_would_of_metrics_that_exist(rule: dict[str, Any]) -> None:
    query, threshold = rule["data"]

    assert {one.metric for one in promql.selected(query["model"]["expr"])} <= promql.exported_metrics() | {"up"}
    assert (rule["condition"], threshold["model"]["expression"]) == (threshold["refId"], query["refId"])
    assert query["relativeTimeRange"]["from"] > query["relativeTimeRange"]["to"]
    assert not any("$value " in text or "$value}" in text for text in rule["annotations"].values())
