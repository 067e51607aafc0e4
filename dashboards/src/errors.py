"""The dashboard "WhatsApp errors and policy": what fails and why, and what Meta has against the account."""

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import board, panels, standing
from dashboards.src.panels import BLUE, GREEN, ORANGE, PURPLE, RED, YELLOW
from dashboards.src.queries import (
    ACCOUNT,
    REAL,
    SENDER,
    failed_share,
    grown,
    highest,
    in_range,
    or_zero,
    per_second,
    series,
)

CODES = "https://github.com/whatsapp-monitor/whatsapp-monitor/blob/main/docs/error-codes.md"
REVIEWS = {"1": ("Approved", GREEN), "2": ("Under review", YELLOW), "3": ("Rejected", RED)}
RESTRICTED = {"0": ("Free", GREEN), "1": ("Restricted", RED)}

GRAVE = {
    "368": "policy block",
    "506": "duplicate",
    "131043": "expired",
    "131056": "pair rate",
    "131031": "account locked",
}
GRAVE_COLORS = {
    "368 policy block": RED,
    "506 duplicate": ORANGE,
    "131043 expired": YELLOW,
    "131056 pair rate": BLUE,
    "131031 account locked": PURPLE,
}


def build() -> dashboard_model.Dashboard:
    """Return the dashboard, the same for the same source."""
    rows = [
        ("Now", [standing.sending(), standing.since(), *_now()]),
        ("Errors", [*_errors(), *_graver()]),
        ("Policy", _policy()),
    ]
    description = "What fails and with which code, and what Meta has against the account."
    return board.build("errors", "WhatsApp errors and policy", description, rows, variables=board.senders())


def _now() -> list[panels.AnyPanel]:
    incidents = series("whatsapp_incidents_open", ACCOUNT, REAL)
    return [
        panels.linked(
            panels.present(
                "Incidents open",
                "Restrictions of an account that last: all that Meta says of one block is one incident.",
                "short",
                (or_zero(f"sum(max by (waba_id) ({incidents}))"), "incidents"),
                [(1, RED)],
                span=5,
                height=standing.HEIGHT,
            ),
            "WhatsAppPolicyBlock",
        ),
        panels.linked(
            panels.present(
                "Policy blocks (368)",
                "How often Meta answered with code 368 in the time range. Every send during a block makes it worse.",
                "short",
                (in_range("whatsapp_errors_total", SENDER, 'code="368"'), "368"),
                [(1, RED)],
                span=5,
                height=standing.HEIGHT,
            ),
            "WhatsAppPolicyBlock",
        ),
        panels.linked(
            panels.number(
                "Failed",
                "Share of the messages that came to an end that failed.",
                "percentunit",
                (failed_share(), "failed"),
                [(0.05, YELLOW), (0.1, RED)],
                span=5,
                height=standing.HEIGHT,
                empty="No messages",
            ),
            "WhatsAppFailureRatioHigh",
            "WhatsAppDeliveryBudgetBurns",
        ),
    ]


def _errors() -> list[panels.AnyPanel]:
    codes = per_second("whatsapp_errors_total", SENDER, by="code")
    listed = in_range("whatsapp_errors_total", SENDER, by="code, origin")
    listing = panels.rows(
        "Errors in the time range",
        "The twenty most frequent, by Meta's code and by where they stood. The code leads to its meaning and advice.",
        f"sort_desc(topk(20, round({listed}) > 0))",
        {"code": "Code", "origin": "Origin"},
        "No errors",
        value="Number",
        span=8,
    )
    return [
        panels.linked(
            panels.stack(
                "Errors by code",
                "Errors per minute, the eight most frequent codes.",
                "cpm",
                [(highest(f"60 * {codes} > 0"), "{{code}}")],
            ),
            "WhatsAppFailureRatioHigh",
        ),
        panels.link_cells(listing, "Code", "What it means", CODES),
        panels.linked(
            panels.lines(
                "Failed, by account",
                "Share of the messages that came to an end that failed: the eight accounts with the highest.",
                "percentunit",
                [(highest(failed_share("waba_id")), "{{waba_id}}")],
            ),
            "WhatsAppFailureRatioHigh",
        ),
    ]


def _graver() -> list[panels.AnyPanel]:
    unread = grown("whatsapp_monitor_unparsed_total", by="reason")
    origins = per_second("whatsapp_errors_total", SENDER, by="origin")
    return [
        panels.lines(
            "Errors by origin",
            "Where Meta told them, per minute: status of a message, webhook without one, a customer's message, the "
            "answer to a send, or the account.",
            "cpm",
            [(f"60 * {origins}", "{{origin}}")],
        ),
        panels.linked(
            panels.paint(
                panels.lines(
                    "Grave codes",
                    "Errors per minute that cost most: policy block, duplicate, expired, pair rate, account locked.",
                    "cpm",
                    [(f"60 * {_code(code)}", f"{code} {name}") for code, name in GRAVE.items()],
                ),
                GRAVE_COLORS,
            ),
            "WhatsAppPolicyBlock",
            "duplicate_burst",
            "message_expired",
            "pair_exceeded",
        ),
        panels.linked(
            panels.lines(
                "Unreadable",
                "In each step, parts of webhooks that could not be read: the eight most frequent reasons. The first of "
                "a reason shows in the alert only.",
                "short",
                [(or_zero(highest(unread), "reason"), "{{reason}}")],
            ),
            "WhatsAppUnparsed",
        ),
    ]


def _code(code: str) -> str:
    return per_second("whatsapp_errors_total", SENDER, f'code="{code}"')


def _policy() -> list[panels.AnyPanel]:
    restricted = series("whatsapp_account_restricted", ACCOUNT)
    ends = series("whatsapp_account_restriction_end_timestamp_seconds", ACCOUNT)
    restrictions = f"max by (waba_id, restriction) ({restricted})"
    events = grown("whatsapp_account_events_total", ACCOUNT, by="field")
    witnesses = in_range("whatsapp_incidents_total", ACCOUNT, REAL, by="witness")
    return [
        panels.name_cells(_restrictions(restricted, ends), "Ends", {"0": ("No end told", ORANGE)}),
        panels.timeline(
            "Restrictions over time",
            "When Meta restricted an account, by what it forbade.",
            [
                (or_zero(highest(restrictions), "restriction"), "{{waba_id}} {{restriction}}"),
            ],
            RESTRICTED,
            span=8,
        ),
        panels.timeline(
            "Account review",
            "What Meta last decided on each account, at most sixteen.",
            [(highest(_reviews(), 16), "{{waba_id}}")],
            REVIEWS,
            span=8,
        ),
        panels.stack(
            "Account events",
            "Changes that Meta told of accounts, numbers and templates, the eight most frequent fields. The first of "
            "a field shows nothing here, since its series begins with it.",
            "short",
            [(or_zero(highest(events), "field"), "{{field}}")],
        ),
        panels.bars(
            "Incidents by first witness",
            "Restrictions that began in the time range, by who told of them first: the answer to a send, a webhook "
            "without message, a status, or the account.",
            "short",
            [(or_zero(witnesses, "witness"), "{{witness}}")],
        ),
        panels.linked(
            panels.lines(
                "Flags raised",
                "Flags raised in each step, the eight rules with most.",
                "short",
                [(or_zero(highest(grown("whatsapp_flags_total", by="rule") + " > 0"), "rule"), "{{rule}}")],
            ),
            "WhatsAppDuplicateBurst",
        ),
    ]


def _reviews() -> str:
    def held(decisions: str) -> str:
        matcher = f'decision=~"{decisions}"'
        return f"{series('whatsapp_account_review', ACCOUNT, matcher)} == 1"

    approved, pending, rejected = held("APPROVED"), held("PENDING|DEFERRED|other"), held("REJECTED")
    return f"max by (waba_id) ({approved} or 2 * ({pending}) or 3 * ({rejected}))"


def _restrictions(restricted: str, ends: str) -> table.Panel:
    return panels.rows(
        "Restrictions in force",
        "What Meta forbids an account, and when it says that this ends; no end where it says none.",
        f"1000 * max by (waba_id, restriction) ({ends}) or 0 * max by (waba_id, restriction) ({restricted})",
        {"waba_id": "Account", "restriction": "Restriction"},
        "Nothing is restricted",
        value="Ends",
        value_unit="dateTimeAsIso",
        span=8,
    )
