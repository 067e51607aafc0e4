"""The dashboard "WhatsApp overview": may we send, do messages arrive, and does the monitor keep up."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import panels
from dashboards.src.panels import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW

UID = "whatsapp-overview"
JOB = 'job="whatsapp-monitor"'
SENDER = 'waba_id=~"$waba_id", phone_number_id=~"$phone_number_id"'
NUMBER = 'phone_number_id=~"$phone_number_id"'
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
    builder = dashboard.Dashboard("WhatsApp overview").uid(UID).tags(["whatsapp", "whatsapp-monitor"])
    builder = builder.description("WhatsApp Cloud API webhooks as whatsapp-monitor sees them.").editable()
    builder = builder.tooltip(dashboard_model.DashboardCursorSync.CROSSHAIR).time("now-6h", "now").refresh("30s")
    builder = builder.timezone("browser").annotations([])
    for variable in _variables():
        builder = builder.with_variable(variable)
    for link in panels.common_links():
        builder = builder.link(link)
    for title, row in (
        ("Now", _now()),
        ("Messages", _messages()),
        ("Decisions", _decisions()),
        ("Webhooks", _webhooks()),
        ("The monitor itself", _monitor()),
    ):
        builder = builder.with_row(dashboard.Row(title))
        for panel in row:
            builder = builder.with_panel(panel)
    return panels.numbered(builder.build())


def _variables() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.TextBoxVariable]:
    return [
        panels.data_source(),
        _choice("waba_id", "Account (WABA)", "label_values(whatsapp_phone_number_info, waba_id)"),
        _choice(
            "phone_number_id",
            "Phone number",
            'label_values(whatsapp_phone_number_info{waba_id=~"$waba_id"}, phone_number_id)',
        ),
        panels.status_page(),
    ]


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """Return a variable of label values; All is `.*`, so that series without the label's value count too."""
    variable = dashboard.QueryVariable(name).label(label).query(query).definition(query).datasource(panels.DATASOURCE)
    variable = variable.multi(True).include_all(True).all_value(".*")
    variable = variable.current(dashboard_model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    variable = variable.refresh(dashboard_model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(dashboard_model.VariableSort.NATURAL_ASC)


def _now() -> list[panels.AnyPanel]:
    return [
        panels.link_runbooks(
            panels.state(
                "Monitor",
                "Whether Prometheus reaches every replica of the monitor. While it is down nothing here moves.",
                (f"min(up{{{JOB}}}) or vector(0)", "up"),
                {"0": ("Down", RED), "1": ("Up", GREEN)},
            ),
            "WhatsAppMonitorDown",
        ),
        panels.link_runbooks(
            panels.number(
                "Sending paused",
                "Pauses of whole senders in force. The gate denies what they cover.",
                "short",
                (
                    "count(max by (scope, scope_id, rule, code) "
                    '(whatsapp_gate_paused{scope=~"all|waba|phone_number"}) == 1) or vector(0)',
                    "pauses",
                ),
                [(1, RED)],
            ),
            "WhatsAppSendingPaused",
        ),
        panels.number(
            "Flags open",
            "Flags that nobody has resolved.",
            "short",
            ("sum(max by (rule) (whatsapp_flags_open)) or vector(0)", "flags"),
            [(1, ORANGE)],
        ),
        panels.link_runbooks(
            panels.number(
                "Resends pending",
                "Expired messages that the application has not sent again yet.",
                "short",
                (f"sum(max by (phone_number_id) (whatsapp_resends_pending{{{NUMBER}}})) or vector(0)", "resends"),
                [(1, YELLOW), (1000, ORANGE)],
            ),
            "WhatsAppResendsPending",
        ),
        panels.number(
            "Webhook lag, p99",
            "From Meta's timestamp to our receipt, over all fields.",
            "s",
            (_quantile(0.99, "whatsapp_webhook_lag_seconds"), "p99"),
            [(60, YELLOW), (300, RED)],
        ),
        panels.number(
            "Oldest in the outbox",
            "Age of the oldest thing that waits to reach its destination for the first time.",
            "s",
            ("max(whatsapp_monitor_outbox_oldest_seconds) or vector(0)", "oldest"),
            [(60, YELLOW), (300, RED)],
        ),
    ]


def _messages() -> list[panels.AnyPanel]:
    statuses = f"sum by (status) (rate(whatsapp_statuses_total{{{SENDER}}}[$__rate_interval]))"
    errors = f"60 * sum by (code, origin) (rate(whatsapp_errors_total{{{SENDER}}}[$__rate_interval])) > 0"
    received = f"sum by (message_type) (rate(whatsapp_messages_received_total{{{SENDER}}}[$__rate_interval]))"
    delivery = ("whatsapp_delivery_seconds", NUMBER)
    funnel = [
        (f'sum(increase(whatsapp_statuses_total{{{SENDER}, status="{status}"}}[$__range]))', status)
        for status in STATUS_COLORS
    ]
    return [
        panels.link_runbooks(
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
        panels.paint(
            panels.lines(
                "Statuses",
                "Statuses of sent messages per second.",
                "mps",
                [(statuses, "{{status}}")],
            ),
            STATUS_COLORS,
        ),
        panels.link_runbooks(
            panels.stack(
                "Failures by code",
                "Errors per minute that Meta reported, by code and by where they stood. The series of known codes "
                "start at 0 when a phone number is first seen; the first error of any other series is invisible to "
                "rate(), here too. WhatsAppPolicyBlock sees it.",
                "cpm",
                [(errors, "{{code}} ({{origin}})")],
            ),
            "WhatsAppPolicyBlock",
            "WhatsAppFailureRatioHigh",
        ),
        panels.lines(
            "Time to delivery",
            "From sent to delivered, by Meta's clock. Exemplars lead to the message's trace.",
            "s",
            [(_quantile(0.5, *delivery), "p50"), (_quantile(0.99, *delivery), "p99")],
            exemplars=True,
            span=12,
        ),
        panels.lines(
            "Messages received",
            "Messages from customers per second, by type.",
            "mps",
            [(received, "{{message_type}}")],
            span=12,
        ),
    ]


def _decisions() -> list[panels.AnyPanel]:
    reaction = "whatsapp_monitor_reaction_seconds"
    checks = "sum by (verdict, reason) (rate(whatsapp_gate_checks_total[$__rate_interval]))"
    return [
        panels.link_runbooks(
            panels.rows(
                "Paused senders",
                "Every pause in force now: what it covers, the rule that placed it and Meta's code.",
                "max by (scope, scope_id, rule, code) (whatsapp_gate_paused) == 1",
                {"scope": "Scope", "scope_id": "Id", "rule": "Rule", "code": "Code"},
                "Nothing is paused",
            ),
            "WhatsAppSendingPaused",
        ),
        panels.rows(
            "Alerts firing",
            "Alerts of rules/prometheus/alerts.yml that fire now; empty also where that file is not loaded.",
            'max by (alertname, severity) (ALERTS{alertname=~"WhatsApp.+", alertstate="firing"})',
            {"alertname": "Alert", "severity": "Severity"},
            "Nothing fires",
        ),
        panels.link_runbooks(
            panels.lines(
                "Flags open by rule",
                "Flags that nobody has resolved.",
                "short",
                [("max by (rule) (whatsapp_flags_open)", "{{rule}}")],
            ),
            "WhatsAppDuplicateBurst",
        ),
        panels.stack(
            "Gate checks by verdict",
            "Answers of the gate per second. `deny` names the scope of the pause.",
            "reqps",
            [(checks, "{{verdict}}: {{reason}}")],
        ),
        panels.lines(
            "Reaction time",
            "From the webhook's receipt to the commit of the action that it caused.",
            "s",
            [
                (_quantile(0.5, reaction, by="action"), "{{action}} p50"),
                (_quantile(0.99, reaction, by="action"), "{{action}} p99"),
            ],
        ),
    ]


def _webhooks() -> list[panels.AnyPanel]:
    lag = "whatsapp_webhook_lag_seconds"
    outcomes = "sum by (outcome) (rate(whatsapp_monitor_deliveries_total[$__rate_interval]))"
    return [
        panels.link_runbooks(
            panels.lines(
                "Webhook lag",
                "From Meta's timestamp to our receipt, by field. Meta's timestamps are whole seconds.",
                "s",
                [
                    (_quantile(0.5, lag, by="field"), "{{field}} p50"),
                    (_quantile(0.99, lag, by="field"), "{{field}} p99"),
                ],
                span=12,
            ),
            "WhatsAppWebhookLagHigh",
        ),
        panels.link_runbooks(
            panels.paint(
                panels.stack(
                    "Deliveries by outcome",
                    "Webhook requests per second, by what became of them.",
                    "reqps",
                    [(outcomes, "{{outcome}}")],
                    span=12,
                ),
                OUTCOME_COLORS,
            ),
            "WhatsAppWebhooksSilent",
            "WhatsAppSignatureFailures",
            "WhatsAppMonitorJournalUnavailable",
        ),
    ]


def _monitor() -> list[panels.AnyPanel]:
    return [
        panels.link_runbooks(
            panels.lines(
                "Journal lag",
                "Journal entries that the pipeline has not acted upon yet.",
                "short",
                [("max by (instance) (whatsapp_monitor_journal_lag_events)", "{{instance}}")],
            ),
            "WhatsAppMonitorJournalLag",
        ),
        panels.lines(
            "Outbox pending",
            "What waits to leave, by destination; alerts stay here while they are active.",
            "short",
            [("max by (destination) (whatsapp_monitor_outbox_pending)", "{{destination}}")],
        ),
        panels.link_runbooks(
            panels.lines(
                "Outbox oldest",
                "Age of the oldest thing that waits to reach its destination for the first time.",
                "s",
                [("max by (destination) (whatsapp_monitor_outbox_oldest_seconds)", "{{destination}}")],
            ),
            "WhatsAppMonitorOutboxOld",
        ),
    ]


def _quantile(quantile: float, histogram: str, matchers: str = "", *, by: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    series = f"{histogram}_bucket{{{matchers}}}" if matchers else f"{histogram}_bucket"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({series}[$__rate_interval])))"
