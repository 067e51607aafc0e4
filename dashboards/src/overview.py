"""The dashboard "WhatsApp overview": may we send, do messages arrive, and does the monitor keep up."""

from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import board, panels, queries, standing
from dashboards.src.panels import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW
from dashboards.src.queries import NUMBER, SENDER, failed_share, in_range, or_zero, per_second, quantile, series

STATUS_COLORS = {"sent": BLUE, "delivered": GREEN, "read": PURPLE, "failed": RED}
OUTCOME_COLORS = {
    "accepted": GREEN,
    "duplicate": BLUE,
    "signature_missing": YELLOW,
    "signature_mismatch": ORANGE,
    "too_large": GREY,
    "overloaded": PURPLE,
    "journal_unavailable": RED,
}


def build() -> dashboard_model.Dashboard:
    """Return the dashboard, the same for the same source."""
    rows = [
        (
            "Now",
            [
                standing.sending(),
                standing.since(),
                standing.why(),
                standing.monitor(),
                *_now(),
                *_waiting(),
                standing.course(),
            ],
        ),
        ("Messages", _messages()),
        ("Trouble", _trouble()),
    ]
    description = "May we send, do messages arrive, does the monitor keep up: the page to open first."
    return board.build("overview", "WhatsApp overview", description, rows, variables=board.senders())


def deliveries(span: int) -> panels.AnyPanel:
    """Return the webhook requests by what became of them."""
    panel = panels.stack(
        "Deliveries by outcome",
        "Webhook requests per second, by what became of them.",
        "reqps",
        [(per_second("whatsapp_monitor_deliveries_total", by="outcome"), "{{outcome}}")],
        span=span,
    )
    alerts = ("WhatsAppWebhooksSilent", "WhatsAppSignatureFailures", "WhatsAppMonitorJournalUnavailable")
    return panels.linked(panels.paint(panel, OUTCOME_COLORS), *alerts)


def statuses(span: int) -> panels.AnyPanel:
    """Return what becomes of messages, over time."""
    shown = f'status=~"{"|".join(STATUS_COLORS)}"'
    query = per_second("whatsapp_statuses_total", SENDER, shown, by="status")
    panel = panels.lines("Statuses", "Statuses of sent messages per second.", "mps", [(query, "{{status}}")], span=span)
    return panels.linked(panels.paint(panel, STATUS_COLORS), "WhatsAppDeliveryBudgetBurns")


def _now() -> list[panels.AnyPanel]:
    leaked = or_zero(in_range("whatsapp_gate_leaks_total", NUMBER))
    flags = f"sum(max by (rule) ({series('whatsapp_flags_open')}))"
    return [
        panels.linked(
            panels.present(
                "Sent though paused",
                "Messages in the time range that left although a pause was in force: somebody does not ask the gate.",
                "short",
                (leaked, "leaks"),
                [(1, RED)],
            ),
            "WhatsAppGateLeaks",
        ),
        panels.linked(
            panels.number(
                "Failed",
                "Share of the messages that came to an end that failed.",
                "percentunit",
                (failed_share(), "failed"),
                [(0.05, YELLOW), (0.1, RED)],
                empty="No messages",
            ),
            "WhatsAppFailureRatioHigh",
            "WhatsAppDeliveryBudgetBurns",
        ),
        panels.linked(
            panels.number(
                "Flags open",
                "Flags that nobody has resolved.",
                "short",
                (or_zero(flags), "flags"),
                [(1, ORANGE)],
            ),
            "WhatsAppDuplicateBurst",
        ),
    ]


def _waiting() -> list[panels.AnyPanel]:
    pending = f"sum(max by (phone_number_id) ({series('whatsapp_resends_pending', NUMBER)}))"
    oldest = f"max({series('whatsapp_monitor_outbox_oldest_seconds')})"
    return [
        panels.linked(
            panels.number(
                "Resends pending",
                "Messages that the application has not sent again yet.",
                "short",
                (or_zero(pending), "resends"),
                [(1, YELLOW), (1000, ORANGE)],
            ),
            "WhatsAppResendsPending",
        ),
        panels.linked(
            panels.number(
                "Webhook lag, p99",
                "From Meta's timestamp to our receipt, over all fields.",
                "s",
                (quantile(0.99, "whatsapp_webhook_lag_seconds"), "p99"),
                [(60, YELLOW), (300, RED)],
                empty="No webhooks",
            ),
            "WhatsAppWebhookLagHigh",
        ),
        panels.linked(
            panels.number(
                "Oldest in the outbox",
                "Age of the oldest thing that waits to reach its destination for the first time.",
                "s",
                (or_zero(oldest), "oldest"),
                [(60, YELLOW), (300, RED)],
            ),
            "WhatsAppMonitorOutboxOld",
        ),
    ]


def _messages() -> list[panels.AnyPanel]:
    failures = queries.highest("60 * " + per_second("whatsapp_errors_total", SENDER, by="code, origin") + " > 0")
    funnel = [(in_range("whatsapp_statuses_total", SENDER, f'status="{status}"'), status) for status in STATUS_COLORS]
    return [
        panels.linked(
            panels.paint(
                panels.bars(
                    "Delivery funnel",
                    "Statuses in the whole time range, each message and status counted once. A message may be read "
                    "without ever having been reported as delivered.",
                    "short",
                    funnel,
                ).decimals(0),
                STATUS_COLORS,
            ),
            "WhatsAppFailureRatioHigh",
        ),
        statuses(8),
        panels.linked(
            panels.stack(
                "Failures by code",
                "Errors per minute that Meta reported, the most frequent eight by code and by where they stood. Series "
                "of known codes start at 0 when a phone number is first seen; the first error of any other series is "
                "invisible to rate(), here too.",
                "cpm",
                [(failures, "{{code}} ({{origin}})")],
            ),
            "WhatsAppPolicyBlock",
            "WhatsAppFailureRatioHigh",
        ),
    ]


def _trouble() -> list[panels.AnyPanel]:
    enforced = series("whatsapp_monitor_rule_firings", 'state="firing"', 'mode="enforce"')
    firing = 'ALERTS{job=~"$job", alertname=~"WhatsApp.+", alertstate="firing"}'
    alerts = panels.rows(
        "Alerts firing",
        "Alerts of rules/prometheus/alerts.yml that fire now; empty also where that file is not loaded.",
        f"count by (alertname, severity) ({firing})",
        {"alertname": "Alert", "severity": "Severity"},
        "Nothing fires",
        value="Number",
        span=8,
    )
    rules = panels.rows(
        "Rules firing",
        "Rules that are enforced and fire now, and in how many groups.",
        f"max by (rule) ({enforced}) > 0",
        {"rule": "Rule"},
        "Nothing fires",
        value="Groups",
        span=8,
    )
    runbook = f"{panels.RUNBOOKS}/${{__value.text}}.md"
    return [
        panels.linked(panels.link_cells(alerts, "Alert", "Runbook", runbook)),
        panels.linked(panels.link_cells(rules, "Rule", "Runbook", runbook)),
        deliveries(8),
    ]
