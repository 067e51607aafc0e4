"""The dashboard "WhatsApp monitor": the sidecar itself, from Meta's request to what leaves for the application."""

from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.src import board, overview, panels, standing
from dashboards.src.panels import GREEN, GREY, ORANGE, PURPLE, RED, YELLOW
from dashboards.src.queries import grown, highest, lowest, or_zero, per_second, quantile, series

RELOADED = {"0": ("Refused", RED), "1": ("Taken", GREEN)}
DRILLED = {"-1": ("Never", GREY), "0": ("Failed", RED), "1": ("Passed", GREEN)}
LOSS_COLORS = {"queue_full": ORANGE, "export_failed": RED}
SENT_COLORS = {"ok": GREEN, "retry": YELLOW, "dead": RED}


def build() -> dashboard_model.Dashboard:
    """Return the dashboard, the same for the same source."""
    rows = [
        ("Now", _now()),
        ("From Meta to the journal", _received()),
        ("From the journal to rules", _pipeline()),
        ("To the application", _outbox()),
        ("Watching the watcher", [*_watched(), *_lost()]),
    ]
    description = "The sidecar itself: does it take, keep, judge and pass on what Meta says, and would a block be seen."
    return board.build("monitor", "WhatsApp monitor", description, rows)


def _now() -> list[panels.AnyPanel]:
    reloaded = series("whatsapp_monitor_config_last_reload_successful")
    passed, drilled = series("whatsapp_drill_passed"), series("whatsapp_drill_timestamp_seconds")
    return [
        standing.monitor(),
        panels.linked(
            panels.state(
                "Last reload",
                "Whether the newest configuration and rules were taken. Where they were refused the old ones are in "
                "force, and a restart would fail. Until the first reload: what was read at the start.",
                (f"min({reloaded})", "reload"),
                RELOADED,
                height=standing.HEIGHT,
            ),
            "WhatsAppMonitorReloadFailed",
        ),
        panels.linked(
            panels.state(
                "Last drill",
                "Whether the newest `whatsapp-monitor drill` reached the gate, the followers and Alertmanager.",
                (f"(max({passed}) and max({drilled}) > 0) or max({passed}) - 1", "drill"),
                DRILLED,
                height=standing.HEIGHT,
            ),
            "WhatsAppMonitorDrillOld",
        ),
        panels.linked(
            panels.number(
                "Journal lag",
                "Journal entries that the pipeline has not acted upon yet, of the replica that is furthest behind.",
                "short",
                (f"max({series('whatsapp_monitor_journal_lag_events')})", "entries"),
                [(100, YELLOW), (1000, RED)],
                height=standing.HEIGHT,
            ),
            "WhatsAppMonitorJournalLag",
        ),
        panels.linked(
            panels.number(
                "Dead in the outbox",
                "What destinations have refused for good: `whatsapp-monitor outbox retry` tries again.",
                "short",
                (or_zero(f"sum(max by (destination) ({series('whatsapp_monitor_outbox_dead')}))"), "dead"),
                [(1, ORANGE)],
                height=standing.HEIGHT,
            ),
            "WhatsAppMonitorOutboxDead",
        ),
        panels.linked(
            panels.number(
                "Loop restarts",
                "How often parts of the monitor failed and were started again, in each step.",
                "short",
                (grown("whatsapp_monitor_loop_restarts_total"), "restarts"),
                [(1, YELLOW), (4, RED)],
                height=standing.HEIGHT,
            ),
            "WhatsAppMonitorLoopRestarts",
        ),
    ]


def _received() -> list[panels.AnyPanel]:
    lag, commit = "whatsapp_webhook_lag_seconds", "whatsapp_monitor_journal_commit_seconds"
    return [
        overview.deliveries(6),
        panels.lines(
            "Signed by",
            "Deliveries per second, by which of the app secrets signed them, in their order. After a rotation the old "
            "one's line comes to an end.",
            "reqps",
            [(per_second("whatsapp_monitor_signatures_total", by="secret"), "{{secret}}")],
            span=6,
        ),
        panels.linked(
            panels.lines(
                "Webhook lag, p99",
                "From Meta's timestamp to our receipt, the eight fields with the longest. Meta's timestamps are whole "
                "seconds.",
                "s",
                [(highest(quantile(0.99, lag, by="field")), "{{field}}")],
                span=6,
            ),
            "WhatsAppWebhookLagHigh",
        ),
        panels.linked(
            panels.lines(
                "Journal commit",
                "From handing a group of deliveries to the writer to its durability.",
                "s",
                [(quantile(0.5, commit), "p50"), (quantile(0.99, commit), "p99")],
                span=6,
            ),
            "WhatsAppMonitorJournalUnavailable",
        ),
    ]


def _pipeline() -> list[panels.AnyPanel]:
    kinds = per_second("whatsapp_monitor_events_total", by="kind")
    repeated = per_second("whatsapp_monitor_repeated_events_total")
    lag = f"max by (instance) ({series('whatsapp_monitor_journal_lag_events')})"
    size = f"max by (instance) ({series('whatsapp_monitor_journal_bytes')})"
    room = f"min by (instance) ({series('whatsapp_monitor_disk_free_bytes')})"
    kept = f"max({series('whatsapp_monitor_disk_kept_free_bytes')})"
    lost = f"sum({series('whatsapp_monitor_journal_lost_entries')})"
    return [
        panels.stack(
            "Events by kind",
            "Events read from deliveries per second, copies included: the five most frequent kinds.",
            "eps",
            [(highest(kinds, 5), "{{kind}}")],
        ),
        panels.linked(
            panels.lines(
                "Journal lag by replica",
                "Journal entries that the pipeline has not acted upon yet.",
                "short",
                [(highest(lag), "{{instance}}")],
            ),
            "WhatsAppMonitorJournalLag",
        ),
        panels.linked(
            panels.lines(
                "The store and its disk",
                "Size of the store, write-ahead log included; the room that is left; and the room below which "
                "webhooks are answered 503.",
                "bytes",
                [(highest(size), "store {{instance}}"), (lowest(room), "left {{instance}}"), (kept, "kept free")],
            ),
            "WhatsAppMonitorDiskFilling",
        ),
        panels.linked(
            panels.lines(
                "Not understood or lost",
                "In each step: parts of webhooks that could not be read, and events that made the monitor itself fail. "
                "Since the start: entries that were durable and were gone.",
                "short",
                [
                    (grown("whatsapp_monitor_events_total", 'kind="unparsed"'), "unparsed"),
                    (grown("whatsapp_monitor_quarantined_total"), "quarantined"),
                    (lost, "lost"),
                ],
            ),
            "WhatsAppUnparsed",
            "WhatsAppMonitorQuarantined",
            "WhatsAppMonitorEntriesLost",
        ),
        panels.lines(
            "Repeated events",
            "Events per second that had been acted upon before, and so changed nothing: Meta delivers at least once.",
            "eps",
            [(or_zero(repeated), "repeated")],
        ),
        panels.linked(
            panels.lines(
                "Values without a series",
                "In each step, values counted as other since a label had its share: the eight labels with most.",
                "short",
                [(or_zero(highest(grown("whatsapp_monitor_labels_dropped_total", by="label")), "label"), "{{label}}")],
            ),
            "WhatsAppMonitorLabelsDropped",
        ),
    ]


def _outbox() -> list[panels.AnyPanel]:
    pending = f"max by (destination) ({series('whatsapp_monitor_outbox_pending')})"
    oldest = f"max by (destination) ({series('whatsapp_monitor_outbox_oldest_seconds')})"
    dead = f"max by (destination) ({series('whatsapp_monitor_outbox_dead')})"
    sends = per_second("whatsapp_monitor_outbox_sends_total", by="outcome")
    return [
        panels.lines(
            "Outbox pending",
            "What waits to leave, the eight destinations with most; alerts stay here while they are active.",
            "short",
            [(or_zero(highest(pending), "destination"), "{{destination}}")],
            span=6,
        ),
        panels.linked(
            panels.lines(
                "Outbox oldest",
                "Age of the oldest thing that waits to reach its destination for the first time.",
                "s",
                [(or_zero(highest(oldest), "destination"), "{{destination}}")],
                span=6,
            ),
            "WhatsAppMonitorOutboxOld",
        ),
        panels.linked(
            panels.paint(
                panels.stack(
                    "Attempts by outcome",
                    "Attempts to deliver per second, to all destinations.",
                    "reqps",
                    [(or_zero(sends, "outcome"), "{{outcome}}")],
                    span=6,
                ),
                SENT_COLORS,
            ),
            "WhatsAppMonitorOutboxOld",
        ),
        panels.linked(
            panels.lines(
                "Refused for good",
                "What destinations have refused and nobody has tried again, the eight with most.",
                "short",
                [(or_zero(highest(dead), "destination"), "{{destination}}")],
                span=6,
            ),
            "WhatsAppMonitorOutboxDead",
        ),
    ]


def _watched() -> list[panels.AnyPanel]:
    drilled, stages = series("whatsapp_drill_timestamp_seconds"), series("whatsapp_drill_seconds")
    known = "whatsapp_monitor_follower_seconds"
    return [
        panels.linked(
            panels.bars(
                "Newest drill",
                "Seconds from the played block's webhook until it was known there; none before the first drill.",
                "s",
                [(or_zero(f"max by (stage) ({stages})", "stage"), "{{stage}}")],
            ),
            "WhatsAppMonitorDrillOld",
        ),
        panels.linked(
            panels.present(
                "Drilled",
                "When the newest drill was: let it be weekly.",
                "dateTimeFromNow",
                (f"1000 * max({drilled} > 0)", "drilled"),
                [],
                height=panels.HEIGHT,
                empty="Never",
            ),
            "WhatsAppMonitorDrillOld",
        ),
        panels.paint(
            panels.lines(
                "Followers",
                "Open streams of events.",
                "short",
                [(f"sum({series('whatsapp_monitor_followers')})", "followers")],
                span=6,
            ),
            {"followers": PURPLE},
        ),
        panels.lines(
            "Until a follower knows",
            "From a pause's commit until a follower said that it has it.",
            "s",
            [(quantile(0.5, known), "p50"), (quantile(0.99, known), "p99")],
            span=6,
        ),
    ]


def _lost() -> list[panels.AnyPanel]:
    spans = grown("whatsapp_monitor_spans_dropped_total", by="reason")
    loops = grown("whatsapp_monitor_loop_restarts_total", by="loop")
    build = series("whatsapp_monitor_build_info")
    clock = series("whatsapp_monitor_clock_off_seconds")
    connections = grown("whatsapp_monitor_connections_refused_total", by="listener, reason")
    logins = grown("whatsapp_monitor_logins_failed_total", by="outcome")
    return [
        panels.lines(
            "Log-ins that failed",
            "Tokens that nobody has, and requests that had to wait after many different ones, in each step.",
            "short",
            [(logins, "{{outcome}}")],
            span=6,
        ),
        panels.lines(
            "Connections refused",
            "Connections that were not let in since there were too many, or for their certificate, in each step.",
            "short",
            [(connections, "{{listener}}: {{reason}}")],
            span=6,
        ),
        panels.linked(
            panels.paint(
                panels.lines(
                    "Spans lost",
                    "Trace spans that no collector took, in each step.",
                    "short",
                    [(spans, "{{reason}}")],
                    span=6,
                ),
                LOSS_COLORS,
            ),
            "WhatsAppMonitorSpansDropped",
        ),
        panels.linked(
            panels.lines(
                "Loop restarts by part",
                "How often each part failed and was started again, in each step: the eight with most.",
                "short",
                [(highest(loops), "{{loop}}")],
                span=6,
            ),
            "WhatsAppMonitorLoopRestarts",
        ),
        panels.linked(
            panels.lines(
                "Clocks apart",
                "How far the machine's clock has jumped from the one that the monitor goes by, forward or back.",
                "s",
                [(highest(f"abs(max by (instance) ({clock}))"), "{{instance}}")],
                span=6,
            ),
            "WhatsAppMonitorClockJumped",
        ),
        panels.linked(
            panels.rows(
                "Versions",
                "What runs.",
                f"count by (instance, version, python_version, sqlite_version) ({build})",
                {"instance": "Instance", "version": "Version", "python_version": "Python", "sqlite_version": "SQLite"},
                "No monitor is scraped",
                span=18,
            ),
            "WhatsAppMonitorWatchdog",
        ),
    ]
