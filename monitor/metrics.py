"""What Prometheus can scrape of what happened: one set of metrics on one registry that is passed in."""

import platform
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitor import __version__, series
from monitor.codes import Catalogue
from monitor.duplicates import TRIGGERS
from monitor.messages import ANOMALIES
from monitor.rules import Rule
from monitor.series import OTHER, Budget, Cached

VALUES_MOST = 64  # of a label that Meta or a user can make up, other than numbers and accounts
WHOLE_SHARE, GRAVE_SHARE = (
    0.5,
    0.75,
)  # of the budget, up to which a new number gets all codes prepared, or the grave ones
STATUSES = ("sent", "delivered", "read", "failed", "played", "deleted", "warning")
DUPLICATES = ("passed", "refused")
WITNESSES = ("status", "webhook", "message", "send", "account")
QUARANTINES = ("parse", "evaluate")
DRILL_STAGES = ("webhook", "gate", "follower", "alertmanager", "release")
LOOPS = ("pipeline", "retention", "ticks", "board", "outbox")
OUTCOMES = (
    "accepted", "duplicate", "signature_missing", "signature_mismatch", "too_large", "overloaded",
    "journal_unavailable", "disk_full",
)  # fmt: skip
_GRAVE = frozenset({"policy_block", "duplicate", "expired", "quality", "payment", "auth"})
_PRECREATED_ORIGINS = frozenset({"status", "webhook", "message"})
_DELIVERY_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200, 86400, 604800)
_LAG_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400, 604800)
_FAST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics that events feed; what is read off the running parts is in Readings."""

    def __init__(self, registry: CollectorRegistry, catalogue: Catalogue, series_most: int = series.MOST) -> None:
        self.registry = registry
        self.caps = series.caps(series_most)
        self.budget = Budget(self.caps.counted, lambda: self.labels_dropped.of("series").inc())
        self.catalogue = catalogue
        self._all: list[Cached] = []
        self._values: dict[str, set[str]] = {}
        self._heard_at: dict[tuple[str, str], float] = {}
        self._fresh: set[tuple[str, str]] = set()
        self._precreated: set[tuple[str, str]] = set()
        self._make_what_meta_says()
        self._make_what_we_did()
        self._make_own_health()
        for outcome in OUTCOMES:
            self.deliveries.of(outcome)
        for loop in LOOPS:
            self.loop_restarts.of(loop)
        for outcome in ("unknown", "limited", "verify_unknown", "verify_limited"):
            self.logins_failed.of(outcome)
        for listener in ("public", "internal"):
            for reason in ("too_many", "certificate"):
                self.connections_refused.of(listener, reason)
        for reason in ("queue_full", "export_failed"):
            self.spans_dropped.of(reason)
        self.signatures.of("1")
        self.events.of("unparsed")
        for stage in QUARANTINES:
            self.quarantined.of(stage)

    def _make_what_meta_says(self) -> None:
        counter, histogram, sender = self._counter, self._histogram, "waba_id phone_number_id"
        self.statuses = counter("statuses", "Statuses of sent messages, each counted once.", f"{sender} status")
        self.errors = counter("errors", "Errors that Meta reported, by where they stood.", f"{sender} code origin")
        self.messages_received = counter("messages_received", "Messages from customers.", f"{sender} message_type")
        priced = f"{sender} category pricing_model billable"
        self.messages_priced = counter("messages_priced", "Messages that Meta priced.", priced)
        number = "phone_number_id category"
        self.delivery_seconds = histogram(
            "delivery_seconds", "From sent to delivered, by Meta's clock.", number, _DELIVERY_BUCKETS
        )
        self.read_seconds = histogram(
            "read_seconds", "From delivered to read, by Meta's clock.", number, _DELIVERY_BUCKETS
        )
        self.webhook_lag_seconds = histogram(
            "webhook_lag_seconds", "From Meta's timestamp to our receipt.", "field", _LAG_BUCKETS
        )
        self.account_events = counter("account_events", "Changes of all other fields.", "waba_id field event")
        self.sends = counter("sends", "Sends reported to us, by the Graph API's answer.", "phone_number_id outcome")
        self.duplicates = counter(
            "duplicate_sends",
            "Sends through the proxy that repeated another one, by why they probably did.",
            "phone_number_id trigger outcome",
        )
        self.graph_usage = self._gauge(
            "graph_usage_ratio", "Share of Meta's quota that its answers to sends say is used up.", "waba_id kind"
        )
        self.presumed_expired = counter(
            "messages_presumed_expired", "Messages of which nothing was heard within their time to live.", number
        )
        self.taken_back = counter(
            "messages_presumed_expired_taken_back", "Messages presumed expired that arrived after all.", number
        )
        self.anomalies = counter(
            "message_anomalies", "Messages whose statuses contradict each other or the send.", "phone_number_id anomaly"
        )
        self.incidents = counter("incidents", "Restrictions of an account, by who told of it first.", "waba_id witness")
        self.phone_number_info = self._gauge(
            "phone_number_info", "Phone numbers seen, with the account of each.", sender
        )

    def _make_what_we_did(self) -> None:
        counter = self._counter
        self.gate_checks = counter("gate_checks", "Answers of the gate.", "verdict reason via")
        self.leaks = counter(
            "gate_leaks", "Messages that were sent though a pause was in force, by its rule.", "phone_number_id rule"
        )
        self.flags = counter("flags", "Flags raised.", "rule")
        self.resends = counter("resends", "Resends, by what became of them.", "phone_number_id outcome")
        self.rule_matches = counter("monitor_rule_matches", "Events that a rule's match found.", "rule")
        self.rule_late_events = counter(
            "monitor_rule_late_events", "Events that a rule ignored since they were older than its max_age.", "rule"
        )
        self.rule_crowded_events = counter(
            "monitor_rule_crowded_events", "Events that a rule ignored since it fires in too many groups.", "rule"
        )
        self.rule_actions = counter(
            "monitor_rule_actions", "Actions that rules took, or would have taken in shadow mode.", "rule action mode"
        )
        self.reaction_seconds = self._histogram(
            "monitor_reaction_seconds", "From receipt to the action's commit.", "action", _FAST_BUCKETS
        )
        self.follower_seconds = self._histogram(
            "monitor_follower_seconds", "From a pause's commit until a follower said that it has it.", "", _FAST_BUCKETS
        )
        self.outbox_sends = counter("monitor_outbox_sends", "Attempts to deliver, by outcome.", "destination outcome")

    def _make_own_health(self) -> None:
        counter, gauge = self._counter, self._gauge
        self.deliveries = counter("monitor_deliveries", "Webhook requests, by outcome.", "outcome")
        self.signatures = counter(
            "monitor_signatures", "Deliveries, by which of the app secrets signed them, in their order.", "secret"
        )
        self.events = counter("monitor_events", "Events read from deliveries, copies included.", "kind")
        self.repeated_events = counter("monitor_repeated_events", "Events that had been acted upon before.", "kind")
        self.unparsed = counter("monitor_unparsed", "Things in deliveries that could not be read.", "reason")
        self.quarantined = counter(
            "monitor_quarantined", "Events that made the monitor itself fail; see its log.", "stage"
        )
        self.labels_dropped = counter("monitor_labels_dropped", "Values counted as `other` because of a cap.", "label")
        self.spans_dropped = counter("monitor_spans_dropped", "Spans that no collector took.", "reason")
        self.logins_failed = counter(
            "monitor_logins_failed", "Tokens that nobody has, and requests that had to wait after many.", "outcome"
        )
        self.connections_refused = counter(
            "monitor_connections_refused", "Connections that were not let in, by why.", "listener reason"
        )
        self.loop_restarts = counter("monitor_loop_restarts", "Failures of background loops.", "loop")
        self.journal_commit_seconds = self._histogram(
            "monitor_journal_commit_seconds", "From handing a group to the writer to its durability.", "", _FAST_BUCKETS
        )
        self.reload_successful = gauge(
            "monitor_config_last_reload_successful", "Whether the last reload of configuration and rules was taken.", ""
        )
        self.reload_timestamp = gauge(
            "monitor_config_last_reload_success_timestamp_seconds", "When a reload was last taken.", ""
        )
        self.drill_seconds = gauge(
            "drill_seconds", "Of the newest drill: from the webhook until the block was known there.", "stage"
        )
        self.drill_passed = gauge("drill_passed", "Whether the newest drill reached all that it had to.", "")
        self.drill_timestamp = gauge("drill_timestamp_seconds", "When the newest drill was.", "")
        build = gauge("monitor_build_info", "Versions in use.", "version python_version sqlite_version")
        build.of(__version__, platform.python_version(), sqlite3.sqlite_version).set(1)

    def _counter(self, name: str, text: str, labels: str) -> Cached:
        names = labels.split()
        return self._kept(Counter(f"whatsapp_{name}_total", text, names, registry=self.registry), names, 1)

    def _gauge(self, name: str, text: str, labels: str) -> Cached:
        names = labels.split()
        return self._kept(Gauge(f"whatsapp_{name}", text, names, registry=self.registry), names, 1)

    def _histogram(self, name: str, text: str, labels: str, buckets: tuple[float, ...]) -> Cached:
        names = labels.split()
        made = Histogram(f"whatsapp_{name}", text, names, buckets=buckets, registry=self.registry)
        return self._kept(made, names, len(buckets) + 3)  # those, +Inf, count and sum

    def _kept(self, metric: Any, names: Sequence[str], width: int) -> Cached:
        cached = Cached(metric, names, width, self.budget)
        self._all.append(cached)
        return cached

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

        A counter that is born as 1 is invisible to rate(): so known codes start at 0 as soon as a number is seen.
        """
        pair = (waba_id, phone_number_id)
        if pair in self._precreated:
            self._fresh.add(pair)
            return pair
        known = self.bounded("phone_number_id", phone_number_id, self.caps.numbers)
        pair = (self.bounded("waba_id", waba_id, self.caps.numbers), known)
        self._fresh.add(pair)
        if pair in self._precreated or not phone_number_id or known == OTHER:
            return pair
        spent = self.budget.spent / self.budget.most
        self._precreated.add(pair)
        if spent < GRAVE_SHARE:
            self._prepare(pair, is_whole=spent < WHOLE_SHARE)
        self.phone_number_info.of(*pair).set(1)
        return pair

    def _prepare(self, pair: tuple[str, str], *, is_whole: bool) -> None:
        for status in STATUSES:
            self.statuses.of(*pair, status)
        for code in self.catalogue.codes.values():
            is_grave = code.kind in _GRAVE
            if not is_whole and not is_grave:
                continue
            origins = _PRECREATED_ORIGINS.intersection(code.seen_in)
            for origin in origins | {"status"} if is_grave or not origins else origins:
                self.errors.of(*pair, str(code.code), origin)
        for origin in ("status", "webhook"):
            self.errors.of(*pair, OTHER, origin)
        for witness in WITNESSES:
            self.incidents.of(pair[0], witness)
        for anomaly in ANOMALIES:
            self.anomalies.of(pair[1], anomaly)
        for trigger in TRIGGERS:
            for outcome in DUPLICATES:
                self.duplicates.of(pair[1], trigger, outcome)

    def adopt(self, catalogue: Catalogue) -> None:
        """Count by other codes from here on; those that are new are prepared as each number is heard of again."""
        if catalogue != self.catalogue:
            self.catalogue = catalogue
            self._precreated.clear()

    def has_series(self, phone_number_id: str) -> bool:
        """Say whether the number has series of its own, rather than being counted as `other`."""
        return phone_number_id in self._values.get("phone_number_id", ())

    def heard(self, at: float) -> None:
        """Note that the senders that were asked for since the last time were still there."""
        for waba_id, phone_number_id in self._fresh:
            self._heard_at["waba_id", waba_id] = self._heard_at["phone_number_id", phone_number_id] = at
        self._fresh.clear()

    def remove_idle(self, since: float) -> int:
        """Remove the series of numbers and accounts of which nothing was heard since a time; return how many went.

        Their place under the cap is free again; one that comes back starts at 0, as after a restart.
        """
        gone = [key for key, at in self._heard_at.items() if at < since]
        for label, value in gone:
            del self._heard_at[label, value]
            self._values.get(label, set()).discard(value)
            self._precreated = {pair for pair in self._precreated if value not in pair}
            for cached in self._all:
                cached.remove(label, value)
        return len(gone)

    def prepare_leaks(self, rule: str, scope: str, scope_id: str) -> None:
        """Start the series of what a pause of senders does not stop at 0, for each number that it covers."""
        for waba_id, phone_number_id in self._precreated:
            if scope_id == {"all": "", "waba": waba_id, "phone_number": phone_number_id}.get(scope):
                self.leaks.of(phone_number_id, rule)

    def prepare_rules(self, rules: Iterable[Rule]) -> None:
        """Start the series of the rules in force at 0."""
        for rule in rules:
            self.rule_matches.of(rule.name)
            self.rule_late_events.of(rule.name)
            self.rule_crowded_events.of(rule.name)
            self.flags.of(rule.name)
            for action in rule.actions:
                self.rule_actions.of(rule.name, next(iter(action.model_fields_set)), rule.mode)

    def reloaded(self, *, is_successful: bool) -> None:
        """Note how a reload went."""
        self.reload_successful.of().set(int(is_successful))
        if is_successful:
            self.reload_timestamp.of().set_to_current_time()
