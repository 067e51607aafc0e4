"""The dashboard "WhatsApp gate and duplicates": what is held back, what slipped through, and what came twice."""

from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import board, panels, standing
from dashboards.src.panels import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW
from dashboards.src.queries import (
    ACCOUNT,
    NUMBER,
    SENDER,
    grown,
    highest,
    in_range,
    or_zero,
    per_second,
    quantile,
    series,
)

PAUSES = {"1": ("Probing", ORANGE), "2": ("Paused", RED)}
VERDICT_COLORS = {"allow": GREEN, "deny": RED}
SEND_COLORS = {
    "accepted": GREEN,
    "failed": RED,
    "refused": ORANGE,
    "throttled": YELLOW,
    "duplicate": PURPLE,
    "replayed": BLUE,
    "unknown": GREY,
}
TRIGGER_COLORS = {
    "retry_after_timeout": YELLOW,
    "double_enqueue": ORANGE,
    "two_replicas": RED,
    "repeat": BLUE,
}


def build() -> dashboard_model.Dashboard:
    """Return the dashboard, the same for the same source."""
    rows = [
        ("Now", [standing.sending(), standing.since(), standing.why(15), *_now()]),
        ("What stands", _stands()),
        ("Gate and proxy", [*_gate(), *_slipped()]),
        ("Duplicates and resends", [*_duplicates(), *_aftermath()]),
    ]
    description = "What is paused, throttled or probed, what the gate answers, what slipped through, what came twice."
    return board.build("gate", "WhatsApp gate and duplicates", description, rows, variables=board.senders())


def _now() -> list[panels.AnyPanel]:
    leaked = in_range("whatsapp_gate_leaks_total", NUMBER)
    repeated = in_range("whatsapp_duplicate_sends_total", NUMBER)
    usage, followers = series("whatsapp_graph_usage_ratio", ACCOUNT), series("whatsapp_monitor_followers")
    return [
        panels.linked(
            panels.present(
                "Sent though paused",
                "Messages in the time range that left although a pause was in force: somebody does not ask the gate.",
                "short",
                (or_zero(leaked), "leaks"),
                [(1, RED)],
                span=6,
            ),
            "WhatsAppGateLeaks",
        ),
        panels.linked(
            panels.present(
                "Repeated sends",
                "Sends through the proxy in the time range that repeated another one.",
                "short",
                (or_zero(repeated), "repeated"),
                [(1, YELLOW), (100, ORANGE)],
                span=6,
            ),
            "duplicate_send",
            "repeated_send",
        ),
        panels.number(
            "Quota used",
            "Share of Meta's quota that its answers to sends say is used up, the highest. From 80 % on the gate slows "
            "sends down, at 100 % it stops them. 0 also where nothing is sent through the proxy.",
            "percentunit",
            (or_zero(f"max({usage})"), "quota"),
            [(0.8, ORANGE), (1, RED)],
            span=6,
        ),
        panels.number(
            "Followers",
            "Applications that follow the stream of events, and so know of a pause without asking.",
            "short",
            (f"sum({followers})", "followers"),
            [],
            span=6,
        ),
    ]


def _stands() -> list[panels.AnyPanel]:
    paused = f"max by (scope, scope_id, rule) ({series('whatsapp_gate_paused')})"
    probing = f"max by (scope, scope_id, rule) ({series('whatsapp_gate_probing')})"
    stages = series("whatsapp_gate_probing")
    slowed = series("whatsapp_gate_throttled_per_second")
    return [
        panels.linked(
            panels.timeline(
                "Pauses over time",
                "Each pause, at most sixteen; probing: it lets some messages through to see whether all may go.",
                [(highest(f"2 * {paused} or {probing}", 16), "{{scope}} {{scope_id}} {{rule}}")],
                PAUSES,
                span=8,
            ),
            "WhatsAppSendingPaused",
        ),
        panels.linked(
            panels.rows(
                "Probing",
                "Pauses that open again by a probe, and how far they are: half_open lets a trickle through, ramping a "
                "share of all sends.",
                f"max by (scope, scope_id, rule, stage) ({stages})",
                {"scope": "Scope", "scope_id": "Id", "rule": "Rule", "stage": "Stage"},
                "Nothing is probed",
                span=8,
            )
        ),
        panels.linked(
            panels.rows(
                "Throttled",
                "What rules slow down, and what they let through: the slowest of those that look alike.",
                f"min by (scope, scope_id, rule) ({slowed})",
                {"scope": "Scope", "scope_id": "Id", "rule": "Rule"},
                "Nothing is throttled",
                value="Messages/s",
                span=8,
            ),
            "throughput_exceeded",
        ),
    ]


def _gate() -> list[panels.AnyPanel]:
    checks = per_second("whatsapp_gate_checks_total", by="verdict")
    denials = per_second("whatsapp_gate_checks_total", 'verdict="deny"', by="reason, via")
    sends = per_second("whatsapp_sends_total", NUMBER, by="outcome")
    return [
        panels.linked(
            panels.paint(
                panels.stack("Gate answers", "Answers of the gate per second.", "reqps", [(checks, "{{verdict}}")]),
                VERDICT_COLORS,
            ),
            "WhatsAppSendingPaused",
        ),
        panels.linked(
            panels.stack(
                "Why the gate denies",
                "Denials per second by reason, asked over HTTP (check) or by the proxy: the eight most frequent.",
                "reqps",
                [(or_zero(highest(denials), "reason"), "{{reason}} {{via}}")],
            ),
            "WhatsAppSendingPaused",
            "WhatsAppMonitorGateBlind",
        ),
        panels.linked(
            panels.paint(
                panels.stack(
                    "Sends by outcome",
                    "Sends through the proxy or reported to us, per second. refused: paused. replayed and duplicate: "
                    "the same Idempotency-Key or the same message again. unknown: Graph did not answer.",
                    "mps",
                    [(or_zero(highest(sends, 10), "outcome"), "{{outcome}}")],
                ),
                SEND_COLORS,
            ),
            "policy_block",
        ),
    ]


def _slipped() -> list[panels.AnyPanel]:
    usage = series("whatsapp_graph_usage_ratio", ACCOUNT)
    reaction, leaks = "whatsapp_monitor_reaction_seconds", grown("whatsapp_gate_leaks_total", NUMBER, by="rule")
    return [
        panels.linked(
            panels.lines(
                "Sent though paused, by rule",
                "Messages in each step that left although this rule's pause was in force, the eight rules with most.",
                "short",
                [(or_zero(highest(leaks), "rule"), "{{rule}}")],
            ),
            "WhatsAppGateLeaks",
        ),
        panels.lines(
            "Quota used, by account",
            "Share of Meta's quota that its answers to sends say is used up: the eight highest.",
            "percentunit",
            [(or_zero(highest(f"max by (waba_id, kind) ({usage})"), "waba_id"), "{{waba_id}} {{kind}}")],
        ),
        panels.lines(
            "Reaction time, p99",
            "From the webhook's receipt to the commit of the action that it caused, and from a pause's commit until a "
            "follower said that it knows.",
            "s",
            [
                (quantile(0.99, reaction, by="action"), "{{action}}"),
                (quantile(0.99, "whatsapp_monitor_follower_seconds"), "a follower knows"),
            ],
        ),
    ]


def _duplicates() -> list[panels.AnyPanel]:
    triggers = grown("whatsapp_duplicate_sends_total", NUMBER, by="trigger")
    outcomes = in_range("whatsapp_duplicate_sends_total", NUMBER, by="outcome")
    rejected = per_second("whatsapp_errors_total", SENDER, 'code="506"', by="phone_number_id")
    return [
        panels.linked(
            panels.paint(
                panels.stack(
                    "Repeated sends by cause",
                    "Sends through the proxy in each step that repeated another one, by why they probably did.",
                    "short",
                    [(or_zero(triggers, "trigger"), "{{trigger}}")],
                ),
                TRIGGER_COLORS,
            ),
            "duplicate_send",
        ),
        panels.linked(
            panels.paint(
                panels.bars(
                    "Repeated sends: let through or not",
                    "In the time range: passed ones were only flagged (shadow), refused ones answered 409.",
                    "short",
                    [(or_zero(outcomes, "outcome"), "{{outcome}}")],
                ),
                {"passed": ORANGE, "refused": GREEN},
            ),
            "duplicate_send",
        ),
        panels.linked(
            panels.lines(
                "Rejected as duplicates (506)",
                "Messages per minute that Meta rejected as repeated posts: the eight numbers with most.",
                "cpm",
                [(highest(f"60 * {rejected}"), "{{phone_number_id}}")],
            ),
            "WhatsAppDuplicateBurst",
            "duplicate_burst",
        ),
    ]


def _aftermath() -> list[panels.AnyPanel]:
    flags = f"max by (rule) ({series('whatsapp_flags_open')})"
    resends = grown("whatsapp_resends_total", NUMBER, by="outcome")
    return [
        panels.linked(
            panels.lines(
                "Flags open by rule",
                "Flags that nobody has resolved: the eight rules with most.",
                "short",
                [(or_zero(highest(flags), "rule"), "{{rule}}")],
                span=12,
            ),
            "WhatsAppDuplicateBurst",
        ),
        panels.linked(
            panels.stack(
                "Resends by outcome",
                "Messages that came on the list in each step, and what became of those on it: the eight most frequent.",
                "short",
                [(or_zero(highest(resends), "outcome"), "{{outcome}}")],
                span=12,
            ),
            "WhatsAppResendsPending",
        ),
    ]
