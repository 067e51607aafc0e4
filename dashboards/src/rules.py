"""The dashboard "WhatsApp rules": what each shipped rule counts, does, and would do."""

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import panels
from dashboards.src.panels import BLUE, ORANGE, RED, YELLOW
from monitor import rule_files
from monitor.rules import Rule

UID = "whatsapp-rules"
PACKS = {"Core rules, enforced": "core.yml", "Extra rules, in shadow mode as they ship": "extra.yml"}
LINE_COLORS = {
    "matches": BLUE,
    "pending, enforce": YELLOW,
    "pending, shadow": YELLOW,
    "firing, enforce": RED,
    "firing, shadow": ORANGE,
}
_FOLDER = Path(__file__).parents[2] / "rules" / "monitor"


def build() -> dashboard_model.Dashboard:
    """Return the dashboard, the same for the same source and rules."""
    builder = dashboard.Dashboard("WhatsApp rules").uid(UID).tags(["whatsapp", "whatsapp-monitor"])
    builder = builder.description(
        "Each rule's matches, actions and firings; shadows beside what is enforced."
    ).editable()
    builder = builder.tooltip(dashboard_model.DashboardCursorSync.CROSSHAIR).time("now-6h", "now").refresh("30s")
    builder = builder.timezone("browser").annotations([])
    for variable in panels.common_variables():
        builder = builder.with_variable(variable)
    for link in panels.common_links():
        builder = builder.link(link)
    rows: list[tuple[str, list[panels.AnyPanel]]] = [("Now", _now())]
    rows += [(title, [_rule(rule) for rule in rules(file)]) for title, file in PACKS.items()]
    for title, row in rows:
        builder = builder.with_row(dashboard.Row(title))
        for panel in row:
            builder = builder.with_panel(panel)
    return panels.numbered(builder.build())


def rules(file: str) -> tuple[Rule, ...]:
    """Return the rules of a shipped pack."""
    return rule_files.load([(file, (_FOLDER / file).read_bytes())]).rules


def _now() -> list[panels.AnyPanel]:
    return [
        panels.number(
            "Firing, enforced",
            "Groups in which enforced rules fire now.",
            "short",
            (
                'sum(max by (rule) (whatsapp_monitor_rule_firings{state="firing", mode="enforce"})) or vector(0)',
                "groups",
            ),
            [(1, ORANGE)],
            span=8,
        ),
        panels.number(
            "Firing, shadows",
            "Groups in which rules in shadow mode would act now.",
            "short",
            (
                'sum(max by (rule) (whatsapp_monitor_rule_firings{state="firing", mode="shadow"})) or vector(0)',
                "groups",
            ),
            [],
            span=8,
        ),
        panels.link_runbooks(
            panels.number(
                "Throttles in force",
                "Scopes in which a rule lets only so many messages through.",
                "short",
                (
                    "count(max by (scope, scope_id, rule) (whatsapp_gate_throttled_per_second)) or vector(0)",
                    "throttles",
                ),
                [(1, ORANGE)],
                span=8,
            ),
            "throughput_exceeded",
        ),
        panels.rows(
            "Rules firing",
            "Every rule that is pending or firing now, and in how many groups. A shadow only shows what it would do.",
            "max by (rule, state, mode) (whatsapp_monitor_rule_firings) > 0",
            {"rule": "Rule", "state": "State", "mode": "Mode"},
            "Nothing is firing",
            value="Groups",
            span=8,
        ),
        panels.rows(
            "Throttled senders",
            "Every throttle in force now: what it covers, the rule that placed it, and what it lets through. Of "
            "templates, countries and recipients the slowest stands for all.",
            "min by (scope, scope_id, rule) (whatsapp_gate_throttled_per_second)",
            {"scope": "Scope", "scope_id": "Id", "rule": "Rule"},
            "Nothing is throttled",
            value="Messages per second",
            span=8,
        ),
        panels.lines(
            "Late events ignored",
            "Events older than a rule's max_age when they came: Meta delivers again after an outage of ours.",
            "short",
            [("sum by (rule) (increase(whatsapp_monitor_rule_late_events_total[$__rate_interval])) > 0", "{{rule}}")],
        ),
    ]


def _rule(rule: Rule) -> panels.AnyPanel:
    one = f'rule="{rule.name}"'
    panel = panels.lines(
        rule.name,
        f"{rule.summary}. Events that match, actions (in shadow mode those it would take), and groups that are pending "
        "or firing.",
        "short",
        [
            (f"sum(increase(whatsapp_monitor_rule_matches_total{{{one}}}[$__rate_interval]))", "matches"),
            (
                f"sum by (action, mode) (increase(whatsapp_monitor_rule_actions_total{{{one}}}[$__rate_interval]))",
                "{{action}}, {{mode}}",
            ),
            (f"max by (state, mode) (whatsapp_monitor_rule_firings{{{one}}})", "{{state}}, {{mode}}"),
        ],
    )
    return panels.paint(panels.link_runbooks(panel, rule.name), LINE_COLORS)
