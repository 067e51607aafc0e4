"""Everything that Prometheus can scrape: one set of metrics on one registry that is passed in."""

import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from monitor import __version__, codes
from monitor.actions import Flag, Pause
from monitor.store.protocol import Backlog

OTHER = "other"
NUMBERS_MOST = 200  # phone number ids with series of their own; each has about 200 pre-created ones
VALUES_MOST = 64  # of any other label that Meta or a user can make up
CACHE_SECONDS = 1.0  # a page of 5,000 series takes 120 to 190 ms to write
STATUSES = ("sent", "delivered", "read", "failed", "played", "deleted", "warning")
_PRECREATED_ORIGINS = frozenset({"status", "webhook", "message"})
_DELIVERY_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200, 86400, 604800)
_LAG_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400, 604800)
_FAST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_M = TypeVar("_M", Counter, Gauge, Histogram)

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Cached:
    """A metric whose label children are looked up once: 0.3 µs an increment against 1.1."""

    __slots__ = ("_children", "metric")

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self._children: dict[tuple[str, ...], Any] = {}

    def of(self, *labels: str) -> Any:
        """Return the child of these label values."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self.metric.labels(*labels) if labels else self.metric
        return child


class Metrics:
    """The metrics that events feed, and those that are read off the running parts when Prometheus asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._values: dict[str, set[str]] = {}
        self._precreated: set[tuple[str, str]] = set()
        sender = ("waba_id", "phone_number_id")

        def counter(name: str, text: str, *labels: str) -> Cached:
            return Cached(Counter(name, text, labels, registry=registry))

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Cached:
            return Cached(Histogram(name, text, labels, buckets=buckets, registry=registry))

        self.statuses = counter(
            "whatsapp_statuses_total", "Statuses of sent messages, each counted once.", *sender, "status"
        )
        self.errors = counter(
            "whatsapp_errors_total", "Errors that Meta reported, by where they stood.", *sender, "code", "origin"
        )
        self.messages_received = counter(
            "whatsapp_messages_received_total", "Messages from customers.", *sender, "message_type"
        )
        self.messages_priced = counter(
            "whatsapp_messages_priced_total",
            "Messages that Meta priced.",
            *sender,
            "category",
            "pricing_model",
            "billable",
        )
        self.delivery_seconds = histogram(
            "whatsapp_delivery_seconds",
            "From sent to delivered, by Meta's clock.",
            _DELIVERY_BUCKETS,
            "phone_number_id",
            "category",
        )
        self.read_seconds = histogram(
            "whatsapp_read_seconds",
            "From delivered to read, by Meta's clock.",
            _DELIVERY_BUCKETS,
            "phone_number_id",
            "category",
        )
        self.webhook_lag_seconds = histogram(
            "whatsapp_webhook_lag_seconds", "From Meta's timestamp to our receipt.", _LAG_BUCKETS, "field"
        )
        self.account_events = counter(
            "whatsapp_account_events_total", "Changes of all other fields.", "waba_id", "field", "event"
        )
        self.phone_number_info = Cached(
            Gauge(
                "whatsapp_phone_number_info", "Phone numbers seen, with the account of each.", sender, registry=registry
            )
        )
        self.gate_checks = counter("whatsapp_gate_checks_total", "Answers of the gate.", "verdict", "reason", "via")
        self.flags = counter("whatsapp_flags_total", "Flags raised.", "rule")
        self.resends = counter(
            "whatsapp_resends_total", "Resends, by what became of them.", "phone_number_id", "outcome"
        )
        self.deliveries = counter("whatsapp_monitor_deliveries_total", "Webhook requests, by outcome.", "outcome")
        self.events = counter("whatsapp_monitor_events_total", "Events read from deliveries, copies included.", "kind")
        self.repeated_events = counter(
            "whatsapp_monitor_repeated_events_total", "Events that had been acted upon before.", "kind"
        )
        self.unparsed = counter(
            "whatsapp_monitor_unparsed_total", "Things in deliveries that could not be read.", "reason"
        )
        self.quarantined = counter(
            "whatsapp_monitor_quarantined_total", "Events that made the monitor itself fail; see its log.", "stage"
        )
        self.reaction_seconds = histogram(
            "whatsapp_monitor_reaction_seconds", "From receipt to the action's commit.", _FAST_BUCKETS, "action"
        )
        self.journal_commit_seconds = histogram(
            "whatsapp_monitor_journal_commit_seconds",
            "From handing a group to the writer to its durability.",
            _FAST_BUCKETS,
        )
        self.outbox_sends = counter(
            "whatsapp_monitor_outbox_sends_total", "Attempts to deliver, by outcome.", "destination", "outcome"
        )
        self.rule_matches = counter("whatsapp_monitor_rule_matches_total", "Times that a rule acted.", "rule")
        self.rule_actions = counter(
            "whatsapp_monitor_rule_actions_total", "Actions that rules took.", "rule", "action", "mode"
        )
        self.labels_dropped = counter(
            "whatsapp_monitor_labels_dropped_total", "Values counted as `other` because of a cap.", "label"
        )
        self.spans_dropped = Cached(
            Counter(
                "whatsapp_monitor_spans_dropped_total", "Spans that no collector took.", ("reason",), registry=registry
            )
        )
        self.loop_restarts = counter("whatsapp_monitor_loop_restarts_total", "Failures of background loops.", "loop")
        reload_help = "Whether the last reload of configuration and rules was taken."
        self.reload_successful = Gauge("whatsapp_monitor_config_last_reload_successful", reload_help, registry=registry)
        self.reload_timestamp = Gauge(
            "whatsapp_monitor_config_last_reload_success_timestamp_seconds",
            "When a reload was last taken.",
            registry=registry,
        )
        build = Gauge(
            "whatsapp_monitor_build_info",
            "Versions in use.",
            ("version", "python_version", "sqlite_version"),
            registry=registry,
        )
        build.labels(__version__, platform.python_version(), sqlite3.sqlite_version).set(1)
        for outcome in (
            "accepted", "duplicate", "signature_missing", "signature_mismatch", "too_large", "overloaded",
            "journal_unavailable",
        ):  # fmt: skip
            self.deliveries.of(outcome)
        for reason in ("queue_full", "export_failed"):
            self.spans_dropped.of(reason)

    def bounded(self, label: str, value: str, most: int = VALUES_MOST) -> str:
        """Return the value, or `other` once the label has had its share of different ones."""
        values = self._values.setdefault(label, set())
        if value in values:
            return value
        if len(values) >= most:
            self.labels_dropped.of(label).inc()
            return OTHER
        values.add(value)
        return value

    def sender(self, waba_id: str, phone_number_id: str) -> tuple[str, str]:
        """Return the two labels of a sender, within their caps; prepares the series of one that is new.

        A counter that is born as 1 is invisible to rate(): so each known code starts at 0 as soon as a number is seen.
        """
        pair = (waba_id, phone_number_id)
        if pair in self._precreated:
            return pair
        known = self.bounded("phone_number_id", phone_number_id, NUMBERS_MOST)
        pair = (self.bounded("waba_id", waba_id, NUMBERS_MOST), known)
        if pair in self._precreated or not phone_number_id:
            return pair
        self._precreated.add(pair)
        for status in STATUSES:
            self.statuses.of(*pair, status)
        for code in codes.catalogue().values():
            for origin in _PRECREATED_ORIGINS.intersection(code.seen_in) or {"status"}:
                self.errors.of(*pair, str(code.code), origin)
        for origin in ("status", "webhook"):
            self.errors.of(*pair, OTHER, origin)
        if known != OTHER:
            self.phone_number_info.of(*pair).set(1)
        return pair

    def prepare_rules(self, names: Iterable[str]) -> None:
        """Start the series of the rules in force at 0."""
        for name in names:
            self.rule_matches.of(name)
            self.flags.of(name)

    def reloaded(self, *, is_successful: bool) -> None:
        """Note how a reload went."""
        self.reload_successful.set(int(is_successful))
        if is_successful:
            self.reload_timestamp.set_to_current_time()


class Readings:
    """What is read off the running parts at each scrape: a collector for the registry."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        pauses: Callable[[], Iterable[Pause]],
        flags: Callable[[], Iterable[Flag]],
        backlog: Callable[[], Mapping[str, Backlog]],
        resends: Callable[[], Mapping[str, int]],
        lag_events: Callable[[], int],
        journal_bytes: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._pauses = pauses
        self._flags = flags
        self._backlog = backlog
        self._resends = resends
        self._lag_events = lag_events
        self._journal_bytes = journal_bytes

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples, by which a scrape of single names finds them."""
        for family in self.collect():
            family.samples = []
            yield family

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges as they are now."""
        now = self._clock()
        paused = GaugeMetricFamily(
            "whatsapp_gate_paused",
            "1 while sending in the scope is paused.",
            labels=("scope", "scope_id", "rule", "code"),
        )
        series = {
            (pause.scope, _scope_id(pause), pause.rule, "" if pause.code is None else codes.label(pause.code))
            for pause in self._pauses()
        }
        for labels in sorted(series):
            paused.add_metric(labels, 1)
        yield paused

        open_flags = GaugeMetricFamily("whatsapp_flags_open", "Flags that nobody has resolved.", labels=("rule",))
        counts: dict[str, int] = {}
        for flag in self._flags():
            counts[flag.rule] = counts.get(flag.rule, 0) + (flag.resolved_at is None)
        for rule, count in sorted(counts.items()):
            open_flags.add_metric((rule,), count)
        yield open_flags

        pending = GaugeMetricFamily("whatsapp_resends_pending", "Messages to send again.", labels=("phone_number_id",))
        for phone_number_id, count in sorted(self._resends().items())[:NUMBERS_MOST]:
            pending.add_metric((phone_number_id,), count)
        yield pending
        yield from self._outbox(now)
        yield GaugeMetricFamily(
            "whatsapp_monitor_journal_lag_events", "Journal entries not yet acted upon.", value=self._lag_events()
        )
        yield GaugeMetricFamily(
            "whatsapp_monitor_journal_bytes", "Size of the store on disk.", value=self._journal_bytes()
        )

    def _outbox(self, now: float) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("whatsapp_monitor_outbox_pending", "What waits to leave.", labels=("destination",))
        dead = GaugeMetricFamily(
            "whatsapp_monitor_outbox_dead", "What a destination refused for good.", labels=("destination",)
        )
        oldest = GaugeMetricFamily(
            "whatsapp_monitor_outbox_oldest_seconds",
            "Age of the oldest thing that waits to leave.",
            labels=("destination",),
        )
        for destination, backlog in sorted(self._backlog().items()):
            waiting.add_metric((destination,), backlog.pending)
            dead.add_metric((destination,), backlog.dead)
            age = 0.0 if backlog.oldest_at is None else max(0.0, now - backlog.oldest_at)
            oldest.add_metric((destination,), age)
        yield from (waiting, dead, oldest)


class Page:
    """The text of /metrics: written at most once a second, off the event loop, and shared."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._cached: dict[tuple[str, tuple[str, ...]], tuple[float, bytes, str]] = {}

    def text(self, accept: str, names: tuple[str, ...]) -> tuple[bytes, str]:
        """Return the page and its content type in the format that `accept` prefers."""
        encode, content_type = choose_encoder(accept)
        with self._lock:
            key = (content_type, names)
            found = self._cached.get(key)
            now = time.monotonic()
            if found is not None and now - found[0] < CACHE_SECONDS:
                return found[1], found[2]
            registry = self._registry.restricted_registry(names) if names else self._registry
            body = encode(registry)
            self._cached = {one: value for one, value in self._cached.items() if now - value[0] < CACHE_SECONDS}
            self._cached[key] = (time.monotonic(), body, content_type)
            return body, content_type


def _scope_id(pause: Pause) -> str:
    """Return the id as a label: a template, country or recipient is no bounded set."""
    return pause.scope_id if pause.scope in {"waba", "phone_number"} else ""
