"""The panels about what stands, which several dashboards begin with: is sending allowed, since when, and why not."""

from grafana_foundation_sdk.builders import stat, statetimeline, table

from dashboards.src import panels, queries
from dashboards.src.panels import GREEN, ORANGE, RED, YELLOW
from dashboards.src.queries import SENDERS, series

SENDING = {"0": ("Allowed", GREEN), "1": ("Throttled", YELLOW), "2": ("Probing", ORANGE), "3": ("Paused", RED)}
UP = {"0": ("Down", RED), "1": ("Up", GREEN)}
HEIGHT = 6


def sending() -> stat.Panel:
    """Return whether sending is allowed."""
    panel = panels.state(
        "Sending",
        "Whether the chosen senders may send now. Paused: the gate denies. Probing: a pause lets a few through to see "
        "whether all may go. Unknown: no monitor is scraped. Pauses of single templates, countries and people do not "
        "count here.",
        (queries.sending(), "sending"),
        SENDING,
        span=5,
        height=HEIGHT,
    )
    return panels.linked(panel, "WhatsAppSendingPaused", "WhatsAppPolicyBlock")


def since() -> stat.Panel:
    """Return since when the longest pause lasts."""
    panel = panels.present(
        "Paused since",
        "How long ago the oldest pause in force of the chosen senders began.",
        "dateTimeFromNow",
        (f"1000 * min({series('whatsapp_gate_paused_since_timestamp_seconds', SENDERS)})", "since"),
        [(1, RED)],
        span=4,
        height=HEIGHT,
        empty="Not paused",
    )
    return panels.linked(panel, "WhatsAppSendingPaused")


def why(span: int = 11) -> table.Panel:
    """Return every pause in force, with its reason."""
    pauses = series("whatsapp_gate_paused_since_timestamp_seconds", 'scope_id!="whatsapp-monitor-drill"')
    panel = panels.rows(
        "Why: pauses in force",
        "What is paused, the rule that placed the pause (operator: a human), Meta's code, and since when. The status "
        "page has the evidence and who may release it.",
        f"1000 * min by (scope, scope_id, rule, code) ({pauses})",
        {"scope": "Scope", "scope_id": "Id", "rule": "Rule", "code": "Code"},
        "Nothing is paused",
        value="Since",
        value_unit="dateTimeFromNow",
        span=span,
        height=HEIGHT,
    )
    panel = panels.link_cells(panel, "Rule", "Runbook", f"{panels.RUNBOOKS}/${{__value.text}}.md")
    return panels.linked(panel, "WhatsAppSendingPaused")


def monitor(span: int = 4) -> stat.Panel:
    """Return whether the monitor itself is there: of what Prometheus scrapes, that which was a monitor this day."""
    up, was = series("up"), series("whatsapp_monitor_build_info")
    panel = panels.state(
        "Monitor",
        "Whether Prometheus reaches every replica of the monitor. While it is down nothing here moves, and the gate "
        "does not answer.",
        (f"min({up} and on (job, instance) last_over_time({was}[1d])) or vector(0)", "up"),
        UP,
        span=span,
        height=HEIGHT,
    )
    return panels.linked(panel, "WhatsAppMonitorDown")


def course(span: int = 24) -> statetimeline.Panel:
    """Return when sending was allowed and when it was not."""
    panel = panels.timeline(
        "Sending over time",
        "When the chosen senders might send. A gap: no monitor was scraped.",
        [(queries.sending(), "sending")],
        SENDING,
        span=span,
        height=panels.STAT_HEIGHT,
    )
    return panels.linked(panel, "WhatsAppSendingPaused")
