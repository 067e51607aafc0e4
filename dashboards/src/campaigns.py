"""The dashboard "WhatsApp campaigns and templates": how far each campaign came, and which templates may be sent."""

from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import board, panels
from dashboards.src.panels import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW
from dashboards.src.queries import ACCOUNT, SENDER, highest, or_zero, per_second, series

CAMPAIGN = 'campaign=~"$campaign"'
STATES = {"1": ("Approved", GREEN), "2": ("In review", YELLOW), "3": ("Paused", ORANGE), "4": ("Rejected", RED)}
QUALITIES = {"0": ("Not rated", GREY), "1": ("Green", GREEN), "2": ("Yellow", YELLOW), "3": ("Red", RED)}
CATEGORY_COLORS = {"marketing": PURPLE, "utility": BLUE, "authentication": GREEN, "service": GREY}
IN_REVIEW = "PENDING|IN_APPEAL|FLAGGED|other"
STOPPED = "PAUSED|LIMIT_EXCEEDED|LOCKED"
OVER = "REJECTED|DISABLED|PENDING_DELETION|DELETED|ARCHIVED"


def build() -> dashboard_model.Dashboard:
    """Return the dashboard, the same for the same source."""
    rows = [("Now", _now()), ("How far they came", _campaigns()), ("Templates", _templates()), ("Price", _price())]
    known = series("whatsapp_campaign_messages")
    chosen = board.choice("campaign", "Campaign", f"label_values({known}, campaign)", ".*")
    description = "How far each campaign came, what it costs, and which templates Meta lets through."
    variables = [*board.senders(), chosen]
    return board.build("campaigns", "WhatsApp campaigns and templates", description, rows, variables=variables)


def _now() -> list[panels.AnyPanel]:
    status, quality = series("whatsapp_template_status", ACCOUNT), series("whatsapp_template_quality", ACCOUNT)
    stopped = status.replace("}", f', status=~"{STOPPED}|{OVER}"}}')
    red = quality.replace("}", ', quality="RED"}')
    return [
        panels.linked(
            panels.present(
                "Templates stopped",
                "Templates that Meta has paused, disabled or rejected: messages with them fail.",
                "short",
                (or_zero(f"count(max by (waba_id, template, language) ({stopped}) == 1)"), "templates"),
                [(1, RED)],
                span=6,
            ),
            "template_paused",
        ),
        panels.linked(
            panels.present(
                "Templates of red quality",
                "Templates whose quality Meta rates lowest: the next step is a pause.",
                "short",
                (or_zero(f"count(max by (waba_id, template, language) ({red}) == 1)"), "templates"),
                [(1, ORANGE)],
                span=6,
            ),
            "quality_drop",
        ),
        panels.present(
            "Delivered",
            "Share of the chosen campaigns' sent messages that were delivered.",
            "percentunit",
            (_share("delivered"), "delivered"),
            [],
            span=6,
            empty="No campaigns",
        ),
        panels.linked(
            panels.present(
                "Failed",
                "Share of the chosen campaigns' messages that failed.",
                "percentunit",
                (_share("failed", "messages"), "failed"),
                [(0.05, YELLOW), (0.1, RED)],
                span=6,
                empty="No campaigns",
            ),
            "WhatsAppFailureRatioHigh",
        ),
    ]


def _campaigns() -> list[panels.AnyPanel]:
    shown = ("messages", "sent", "delivered", "read", "replied", "failed", "presumed_expired")
    counts = {outcome.replace("_", " ").capitalize(): (_count(outcome), "short") for outcome in shown}
    billable = series("whatsapp_campaign_billable_messages", CAMPAIGN)
    return [
        panels.matrix(
            "Campaigns",
            "Messages of the chosen campaigns since each began, by how far they came. The 64 campaigns heard of last "
            "have a row, all others count as other.",
            {**counts, "Billed": (f"sum by (campaign) ({billable})", "short")},
            {"campaign": "Campaign"},
            "No campaigns yet",
        ),
        panels.lines(
            "Delivered, by campaign",
            "Share of each campaign's sent messages that were delivered so far: the eight lowest.",
            "percentunit",
            [(f"bottomk(8, {_share('delivered', by='campaign')})", "{{campaign}}")],
        ),
        panels.lines(
            "Read, by campaign",
            "Share of each campaign's delivered messages that were read so far: the eight lowest.",
            "percentunit",
            [(f"bottomk(8, {_share('read', 'delivered', by='campaign')})", "{{campaign}}")],
        ),
        panels.lines(
            "Failed, by campaign",
            "Share of each campaign's messages that failed so far: the eight highest.",
            "percentunit",
            [(highest(_share("failed", "messages", by="campaign")), "{{campaign}}")],
        ),
    ]


def _templates() -> list[panels.AnyPanel]:
    status, changed = (
        series("whatsapp_template_status", ACCOUNT),
        series("whatsapp_template_status_change_timestamp_seconds", ACCOUNT),
    )
    return [
        panels.linked(
            panels.timeline(
                "Template status over time",
                "What Meta allows of each template, those in trouble first, at most sixteen. Rejected stands for "
                "disabled and deleted too.",
                [(highest(_status(), 16), "{{template}} ({{language}})")],
                STATES,
                span=8,
            ),
            "template_paused",
        ),
        panels.linked(
            panels.timeline(
                "Template quality over time",
                "How Meta rates each template, the lowest first, at most sixteen.",
                [(highest(_quality(), 16), "{{template}} ({{language}})")],
                QUALITIES,
                span=8,
            ),
            "quality_drop",
        ),
        panels.linked(
            panels.rows(
                "Templates: last words",
                "Meta's last word on each template, and since when.",
                f"1000 * max by (waba_id, template, language, status) ({status} == 1) "
                "* on (waba_id, template, language) group_left () "
                f"max by (waba_id, template, language) ({changed})",
                {"waba_id": "Account", "template": "Template", "language": "Language", "status": "Status"},
                "Meta has said nothing yet",
                value="Since",
                value_unit="dateTimeFromNow",
                span=8,
            ),
            "template_paused",
        ),
    ]


def _price() -> list[panels.AnyPanel]:
    priced = per_second("whatsapp_messages_priced_total", SENDER, 'billable="true"', by="category")
    free = per_second("whatsapp_messages_priced_total", SENDER, 'billable!="true"')
    billed = series("whatsapp_campaign_billable_messages", CAMPAIGN)
    return [
        panels.paint(
            panels.stack(
                "Billed by category",
                "Messages per minute that Meta bills, by category, and those that are free.",
                "cpm",
                [(highest(f"60 * {priced}"), "{{category}}"), (or_zero(f"60 * {free}"), "free")],
                span=12,
            ),
            {**CATEGORY_COLORS, "free": GREY},
        ),
        panels.bars(
            "Billed by campaign",
            "Messages that Meta has billed since each campaign began: the eight with most.",
            "short",
            [(highest(f"sum by (campaign) ({billed})"), "{{campaign}}")],
            span=12,
        ),
    ]


def _count(outcome: str, by: str = "campaign") -> str:
    counted = series("whatsapp_campaign_messages", CAMPAIGN, f'outcome="{outcome}"')
    return f"sum by ({by}) ({counted})" if by else f"sum({counted})"


def _share(outcome: str, whole: str = "sent", by: str = "") -> str:
    return f"{_count(outcome, by)} / ({_count(whole, by)} > 0)"


def _status() -> str:
    def held(statuses: str) -> str:
        selector = series("whatsapp_template_status", ACCOUNT, f'status=~"{statuses}"')
        return f"max by (template, language) ({selector} == 1)"

    return f"4 * {held(OVER)} or 3 * {held(STOPPED)} or 2 * {held(IN_REVIEW)} or {held('APPROVED|REINSTATED|UNLOCKED')}"


def _quality() -> str:
    def held(quality: str) -> str:
        selector = series("whatsapp_template_quality", ACCOUNT, f'quality=~"{quality}"')
        return f"max by (template, language) ({selector} == 1)"

    return f"3 * {held('RED')} or 2 * {held('YELLOW')} or {held('GREEN')} or 0 * {held('UNKNOWN|other')}"
