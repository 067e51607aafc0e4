"""The dashboard "WhatsApp rules": what each shipped rule counts, does, and would do."""

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import panels
from dashboards.src.panels import GREEN, ORANGE, RED
from monitor import rule_files
from monitor.rules import Rule

UID = "whatsapp-rules"
PACKS = {"Core rules, enforced": "core.yml", "Extra rules, in shadow mode as they ship": "extra.yml"}
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
        ),
        panels.number(
            "Throttles in force",
            "Scopes in which a rule lets only so many messages through.",
            "short",
            ("count(max by (scope, scope_id, rule) (whatsapp_gate_throttled_per_second)) or vector(0)", "throttles"),
            [(1, ORANGE)],
        ),
        panels.lines(
            "Late events ignored",
            "Events older than a rule's max_age when they came: Meta delivers again after an outage of ours.",
            "cps",
            [("sum by (rule) (rate(whatsapp_monitor_rule_late_events_total[$__rate_interval])) > 0", "{{rule}}")],
            span=12,
        ),
    ]


def _rule(rule: Rule) -> panels.AnyPanel:
    selector = f'rule="{rule.name}"'
    panel = panels.lines(
        rule.name,
        f"{rule.summary}. Events that match, what is done about them a second, and groups that are pending or firing.",
        "short",
        [
            (f"sum(rate(whatsapp_monitor_rule_matches_total{{{selector}}}[$__rate_interval]))", "matches/s"),
            (
                f"sum by (action, mode) (rate(whatsapp_monitor_rule_actions_total{{{selector}}}[$__rate_interval]))",
                "{{action}}/s, {{mode}}",
            ),
            (f"max by (state) (whatsapp_monitor_rule_firings{{{selector}}})", "{{state}}"),
        ],
    )
    return panels.paint(panels.link_runbooks(panel, rule.name), {"firing": RED, "pending": ORANGE, "matches/s": GREEN})
