"""The alerts of rules/prometheus/ in other forms, from that one source: for Kubernetes and for Grafana's alerting."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SOURCES = ("recording.yml", "alerts.yml")
MADE = "# Made from rules/prometheus/ by `python -m dashboards.src`; change it there.\n"
NAME = "whatsapp-monitor"
DATASOURCE = "whatsapp-monitor-prometheus"  # as dashboards/provisioning/datasources/ names it
LOOK_BACK_SECONDS = 600
ANYTHING = -1e300  # a rule of Prometheus fires by having a value at all, whichever


def files() -> dict[str, str]:
    """Return the text of each file by its path from the repository's root."""
    return {
        "deploy/kubernetes/prometheusrule.yml": _yaml(prometheus_rule()),
        "deploy/kubernetes/servicemonitor.yml": _yaml(service_monitor()),
        "dashboards/provisioning/alerting/whatsapp-monitor.yml": _yaml(grafana()),
    }


def groups() -> list[dict[str, Any]]:
    """Return the groups of rules as Prometheus reads them."""
    texts = [(ROOT / "rules" / "prometheus" / name).read_text(encoding="utf-8") for name in SOURCES]
    return [group for text in texts for group in yaml.safe_load(text)["groups"]]


def prometheus_rule() -> dict[str, Any]:
    """Return the rules as the Prometheus operator takes them."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": NAME}},
        "spec": {"groups": groups()},
    }


def service_monitor() -> dict[str, Any]:
    """Return what has the operator's Prometheus scrape the sidecar, under the job's name that the rules use."""
    token = {"type": "Bearer", "credentials": {"name": NAME, "key": "operator-token"}}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": NAME}},
        "spec": {
            "jobLabel": "app.kubernetes.io/name",
            "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "endpoints": [{"port": "web", "path": "/metrics", "interval": "15s", "authorization": token}],
        },
    }


def grafana() -> dict[str, Any]:
    """Return the alerts as Grafana's file provisioning takes them; recorded series stand as what they record."""
    recorded = {
        rule["record"]: rule["expr"].strip() for group in groups() for rule in group["rules"] if "record" in rule
    }
    made = []
    for group in groups():
        rules = [_grafana_rule(rule, recorded) for rule in group["rules"] if "alert" in rule]
        if rules:
            made.append({"orgId": 1, "name": group["name"], "folder": "WhatsApp", "interval": "1m", "rules": rules})
    return {"apiVersion": 1, "groups": made}


def _grafana_rule(rule: dict[str, Any], recorded: dict[str, str]) -> dict[str, Any]:
    expression = rule["expr"].strip()
    for name in sorted(recorded, key=len, reverse=True):
        expression = expression.replace(name, f"({recorded[name]})")
    condition = {"evaluator": {"type": "gt", "params": [ANYTHING]}, "type": "query"}
    return {
        "uid": re.sub(r"(?<!^)(?=[A-Z])", "-", rule["alert"].replace("WhatsApp", "Whatsapp")).lower()[:40],
        "title": rule["alert"],
        "condition": "fires",
        "data": [
            {
                "refId": "value",
                "relativeTimeRange": {"from": LOOK_BACK_SECONDS, "to": 0},
                "datasourceUid": DATASOURCE,
                "model": {"refId": "value", "expr": expression, "instant": True, "range": False},
            },
            {
                "refId": "fires",
                "datasourceUid": "__expr__",
                "model": {"refId": "fires", "type": "threshold", "expression": "value", "conditions": [condition]},
            },
        ],
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.get("for", "0s"),
        "labels": rule["labels"],
        "annotations": {name: _templated(text) for name, text in rule["annotations"].items()},
    }


def _templated(text: str) -> str:
    """Return a text with its templates as Grafana writes them: a value belongs to its query there."""
    return text.replace("$value", "$values.value.Value")


def _yaml(content: dict[str, Any]) -> str:
    return MADE + str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and repeats what is the same rather than naming it."""

    def ignore_aliases(self, _: Any) -> bool:
        """Write no anchors."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
