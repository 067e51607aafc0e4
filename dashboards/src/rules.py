"""The dashboard "WhatsApp rules": what each shipped rule counts, does, and would do."""

from pathlib import Path

from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import board, panels
from dashboards.src.panels import BLUE, ORANGE, RED, YELLOW
from dashboards.src.queries import grown, highest, or_zero, series
from monitor import rule_files
from monitor.rules import Rule

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
    rows: list[tuple[str, list[panels.AnyPanel]]] = [("Now", _now())]
    rows += [(title, [_rule(rule) for rule in rules(file)]) for title, file in PACKS.items()]
    description = "Each rule's matches, actions and firings; shadows beside what is enforced."
    return board.build("rules", "WhatsApp rules", description, rows)


def rules(file: str) -> tuple[Rule, ...]:
    """Return the rules of a shipped pack."""
    return rule_files.load([(file, (_FOLDER / file).read_bytes())]).rules


def _now() -> list[panels.AnyPanel]:
    firings = "whatsapp_monitor_rule_firings"
    throttles = series("whatsapp_gate_throttled_per_second")
    late = grown("whatsapp_monitor_rule_late_events_total", by="rule")
    crowded = grown("whatsapp_monitor_rule_crowded_events_total", by="rule")
    return [
        panels.linked(
            panels.number(
                "Firing, enforced",
                "Groups in which enforced rules fire now.",
                "short",
                (or_zero(_groups('mode="enforce"')), "groups"),
                [(1, ORANGE)],
                span=8,
            ),
        ),
        panels.number(
            "Firing, shadows",
            "Groups in which rules in shadow mode would act now.",
            "short",
            (or_zero(_groups('mode="shadow"')), "groups"),
            [],
            span=8,
        ),
        panels.linked(
            panels.number(
                "Throttles in force",
                "Scopes in which a rule lets only so many messages through.",
                "short",
                (or_zero(f"count(max by (scope, scope_id, rule) ({throttles}))"), "throttles"),
                [(1, ORANGE)],
                span=8,
            ),
            "throughput_exceeded",
        ),
        panels.rows(
            "Rules firing",
            "Every rule that is pending or firing now, and in how many groups. A shadow only shows what it would do.",
            f"max by (rule, state, mode) ({series(firings)}) > 0",
            {"rule": "Rule", "state": "State", "mode": "Mode"},
            "Nothing is firing",
            value="Groups",
            span=8,
        ),
        panels.rows(
            "Throttled senders",
            "Every throttle in force now: what it covers, the rule that placed it, and what it lets through. Of "
            "templates, countries and recipients the slowest stands for all.",
            f"min by (scope, scope_id, rule) ({throttles})",
            {"scope": "Scope", "scope_id": "Id", "rule": "Rule"},
            "Nothing is throttled",
            value="Messages per second",
            span=8,
        ),
        panels.lines(
            "Events ignored",
            "Late: older than a rule's max_age when they came, as Meta delivers again after an outage of ours. "
            "Crowded: of one group more than a rule may fire in. The eight rules with the most of each.",
            "short",
            [
                (or_zero(highest(f"{late} > 0"), "rule"), "{{rule}}, late"),
                (or_zero(highest(f"{crowded} > 0"), "rule"), "{{rule}}, crowded"),
            ],
        ),
    ]


def _groups(mode: str) -> str:
    firing = series("whatsapp_monitor_rule_firings", 'state="firing"', mode)
    return f"sum(max by (rule) ({firing}))"


def _rule(rule: Rule) -> panels.AnyPanel:
    one = f'rule="{rule.name}"'
    panel = panels.lines(
        rule.name,
        f"{rule.summary}. Events that match, actions (in shadow mode those it would take), and groups that are pending "
        "or firing.",
        "short",
        [
            (grown("whatsapp_monitor_rule_matches_total", one), "matches"),
            (grown("whatsapp_monitor_rule_actions_total", one, by="action, mode"), "{{action}}, {{mode}}"),
            (f"max by (state, mode) ({series('whatsapp_monitor_rule_firings', one)})", "{{state}}, {{mode}}"),
        ],
    )
    return panels.paint(panels.link_runbooks(panel, rule.name), LINE_COLORS)
