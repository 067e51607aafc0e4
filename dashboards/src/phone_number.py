"""The dashboard "WhatsApp phone number": how one sender fares, or several beside each other."""

from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import board, overview, panels, standing
from dashboards.src.panels import BLUE, GREEN, ORANGE, PURPLE, RED, YELLOW
from dashboards.src.queries import NUMBER, SENDER, failed_share, highest, or_zero, per_second, quantile, series

FLAGGED = {"0": ("Not flagged", GREEN), "1": ("Flagged", RED)}
ANOMALY_COLORS = {
    "unknown_send": RED,
    "failed_after_delivered": ORANGE,
    "delivered_after_failed": BLUE,
    "read_without_delivered": PURPLE,
}


def build() -> dashboard_model.Dashboard:
    """Return the dashboard, the same for the same source."""
    rows = [
        ("Now", [standing.sending(), standing.since(), *_now()]),
        ("Messages", _messages()),
        ("Time", _times()),
        ("What Meta says of the number", _standing()),
        ("What stays open", _open()),
    ]
    description = "How the chosen phone numbers fare: quality, limits, traffic, failures and delays."
    return board.build("phone-number", "WhatsApp phone number", description, rows, variables=board.senders())


def _now() -> list[panels.AnyPanel]:
    flagged = series("whatsapp_phone_number_quality", SENDER, 'quality="FLAGGED"')
    limit = series("whatsapp_messaging_limit", 'waba_id=~"$waba_id"', 'phone_number_id=~"$phone_number_id|"')
    windows = f"sum(max by (phone_number_id) ({series('whatsapp_conversation_windows_open', NUMBER)}))"
    return [
        panels.linked(
            panels.state(
                "Quality",
                "Whether Meta's last word on any of the chosen numbers was that its quality is low. Unknown: Meta has "
                "said nothing since the monitor has been there.",
                (f"max({flagged})", "flagged"),
                FLAGGED,
                span=5,
                height=standing.HEIGHT,
            ),
            "quality_flagged",
        ),
        panels.present(
            "Messaging limit",
            "The lowest limit that Meta told, in messages a day that the business starts; of the portfolio where it "
            "names no number.",
            "short",
            (f"min({limit})", "messages a day"),
            [],
            span=5,
            height=standing.HEIGHT,
        ),
        panels.number(
            "Open windows",
            "Customers who may be answered freely, since they wrote within 24 hours.",
            "short",
            (or_zero(windows), "customers"),
            [],
            span=5,
            height=standing.HEIGHT,
        ),
    ]


def _messages() -> list[panels.AnyPanel]:
    received = per_second("whatsapp_messages_received_total", SENDER, by="message_type")
    return [
        overview.statuses(8),
        panels.linked(
            panels.lines(
                "Failed, by number",
                "Share of the messages that came to an end that failed: the eight numbers with the highest.",
                "percentunit",
                [(highest(failed_share("phone_number_id")), "{{phone_number_id}}")],
            ),
            "WhatsAppFailureRatioHigh",
            "WhatsAppDeliveryBudgetBurns",
        ),
        panels.stack(
            "Messages received",
            "Messages from customers per second, the eight most frequent types.",
            "mps",
            [(highest(received), "{{message_type}}")],
        ),
    ]


def _times() -> list[panels.AnyPanel]:
    delivery, read = "whatsapp_delivery_seconds", "whatsapp_read_seconds"
    return [
        panels.lines(
            "Time to delivery",
            "From sent to delivered, by Meta's clock. The dots are exemplars: one leads to its message's trace.",
            "s",
            [(quantile(0.5, delivery, NUMBER), "p50"), (quantile(0.99, delivery, NUMBER), "p99")],
            exemplars=True,
        ),
        panels.lines(
            "Time to delivery by category",
            "The 90th percentile, from sent to delivered. Exemplars lead to the trace.",
            "s",
            [(highest(quantile(0.9, delivery, NUMBER, by="category")), "{{category}}")],
            exemplars=True,
        ),
        panels.lines(
            "Time until read",
            "From delivered to read, by Meta's clock. Exemplars lead to the trace.",
            "s",
            [(quantile(0.5, read, NUMBER), "p50"), (quantile(0.99, read, NUMBER), "p99")],
            exemplars=True,
        ),
    ]


def _standing() -> list[panels.AnyPanel]:
    quality = series("whatsapp_phone_number_quality", SENDER, 'quality="FLAGGED"')
    changed = series("whatsapp_phone_number_quality_change_timestamp_seconds", SENDER)
    limits = series("whatsapp_messaging_limit", 'waba_id=~"$waba_id"', 'phone_number_id=~"$phone_number_id|"')
    shown = f"{series('whatsapp_phone_number_quality', SENDER)} == 1"
    return [
        panels.linked(
            panels.timeline(
                "Quality over time",
                "Numbers whose quality Meta has flagged, at most sixteen, the flagged ones first.",
                [(highest(f"max by (phone_number_id) ({quality})", 16), "{{phone_number_id}}")],
                FLAGGED,
                span=8,
            ),
            "quality_flagged",
        ),
        panels.lines(
            "Messaging limits",
            "Messages a day that the business may start; without a number it is the portfolio's. The eight lowest.",
            "short",
            [(f"bottomk(8, max by (waba_id, phone_number_id) ({limits}))", "{{waba_id}} {{phone_number_id}}")],
        ),
        panels.rows(
            "Quality: last words",
            "What Meta last said of each number, and when.",
            f"1000 * max by (waba_id, phone_number_id, quality) ({shown}) * on (waba_id, phone_number_id) "
            f"group_left () max by (waba_id, phone_number_id) ({changed})",
            {"waba_id": "Account", "phone_number_id": "Number", "quality": "Quality"},
            "Meta has said nothing yet",
            value="Since",
            value_unit="dateTimeFromNow",
            span=8,
        ),
    ]


def _open() -> list[panels.AnyPanel]:
    silent = series("whatsapp_messages_silent", NUMBER)
    expired = per_second("whatsapp_messages_presumed_expired_total", NUMBER)
    arrived = per_second("whatsapp_messages_presumed_expired_taken_back_total", NUMBER)
    anomalies = per_second("whatsapp_message_anomalies_total", NUMBER, by="anomaly")
    return [
        panels.linked(
            panels.lines(
                "Silent messages",
                "Messages that the Graph API took and that no status has told of since: the eight numbers with most.",
                "short",
                [(or_zero(highest(f"max by (phone_number_id) ({silent})"), "phone_number_id"), "{{phone_number_id}}")],
            ),
            "WhatsAppMessagesSilent",
        ),
        panels.paint(
            panels.lines(
                "Presumed expired",
                "Messages per minute of which nothing was heard within their time to live, and those of them that "
                "arrived after all.",
                "cpm",
                [(or_zero(f"60 * {expired}"), "presumed expired"), (or_zero(f"60 * {arrived}"), "arrived after all")],
            ),
            {"presumed expired": YELLOW, "arrived after all": GREEN},
        ),
        panels.linked(
            panels.paint(
                panels.stack(
                    "Anomalies",
                    "Messages per minute whose statuses contradict each other, or the send. unknown_send: somebody "
                    "sends past the monitor.",
                    "cpm",
                    [(f"60 * {anomalies}", "{{anomaly}}")],
                ),
                ANOMALY_COLORS,
            ),
            "ungated_sender",
        ),
    ]
