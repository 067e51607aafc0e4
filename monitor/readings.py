"""What is read off the running parts at each scrape."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from monitor import codes
from monitor.actions import Flag, Pause
from monitor.codes import Catalogue
from monitor.firings import ENDED, Firing
from monitor.limits import limit, rate
from monitor.series import OTHER, Caps
from monitor.store.protocol import Backlog
from monitor.store.room import Room


class Readings:
    """What is read off the running parts at each scrape: a collector for the registry."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        catalogue: Callable[[], Catalogue],
        pauses: Callable[[], Iterable[Pause]],
        flags: Callable[[], Iterable[Flag]],
        firings: Callable[[], Iterable[Firing]],
        backlog: Callable[[], Mapping[str, Backlog]],
        resends: Callable[[], Mapping[str, int]],
        lag_events: Callable[[], int],
        journal_bytes: Callable[[], int],
        lost_entries: int,
        clock_off_seconds: Callable[[], float],
        room: Room,
        caps: Caps,
        followers: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._pauses = pauses
        self._flags = flags
        self._firings = firings
        self._backlog = backlog
        self._resends = resends
        self._lag_events = lag_events
        self._journal_bytes = journal_bytes
        self._lost_entries = lost_entries
        self._clock_off_seconds = clock_off_seconds
        self._room = room
        self._caps = caps
        self._followers = followers

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples, by which a scrape of single names finds them."""
        for family in self.collect():
            family.samples = []
            yield family

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges as they are now."""
        now = self._clock()
        yield from self._paused(now)
        yield self._throttles(now)
        yield self._probes(now)
        yield self._rule_firings()

        open_flags = GaugeMetricFamily("whatsapp_flags_open", "Flags that nobody has resolved.", labels=("rule",))
        counts: dict[str, int] = {}
        for flag in self._flags():
            counts[flag.rule] = counts.get(flag.rule, 0) + (flag.resolved_at is None)
        for rule, count in sorted(counts.items()):
            open_flags.add_metric((rule,), count)
        yield open_flags

        pending = GaugeMetricFamily("whatsapp_resends_pending", "Messages to send again.", labels=("phone_number_id",))
        for phone_number_id, count in sorted(self._resends().items())[: self._caps.numbers]:
            pending.add_metric((phone_number_id,), count)
        yield pending
        yield from self._outbox(now)
        yield GaugeMetricFamily(
            "whatsapp_monitor_journal_lag_events", "Journal entries not yet acted upon.", value=self._lag_events()
        )
        yield GaugeMetricFamily("whatsapp_monitor_followers", "Open streams of events.", value=self._followers())
        yield GaugeMetricFamily(
            "whatsapp_monitor_journal_bytes", "Size of the store on disk.", value=self._journal_bytes()
        )
        yield GaugeMetricFamily(
            "whatsapp_monitor_journal_lost_entries",
            "Entries that were durable and were gone when the store was opened.",
            value=self._lost_entries,
        )
        yield GaugeMetricFamily(
            "whatsapp_monitor_clock_off_seconds",
            "How far the machine's clock has jumped ahead of the one in use.",
            value=self._clock_off_seconds(),
        )
        yield GaugeMetricFamily(
            "whatsapp_monitor_disk_free_bytes", "Room on the store's disk.", value=self._room.free_bytes()
        )
        yield GaugeMetricFamily(
            "whatsapp_monitor_disk_kept_free_bytes",
            "Room below which deliveries are answered 503.",
            value=self._room.kept_bytes(),
        )

    def _paused(self, now: float) -> Iterator[Metric]:
        labels = ("scope", "scope_id", "rule", "code")
        paused = GaugeMetricFamily("whatsapp_gate_paused", "1 while sending in the scope is paused.", labels=labels)
        since = GaugeMetricFamily(
            "whatsapp_gate_paused_since_timestamp_seconds",
            "Since when, the longest of those with the same labels.",
            labels=labels,
        )
        begun: dict[tuple[str, str, str, str], float] = {}
        for pause in self._pauses():
            if limit(pause, now) is None:
                code = "" if pause.code is None else codes.label(self._catalogue(), pause.code)
                key = (pause.scope, _scope_id(pause), pause.rule, code)
                if key not in begun and len(begun) >= self._caps.pauses:
                    key = (pause.scope, OTHER, pause.rule, code)
                begun[key] = min(begun.get(key, math.inf), pause.since)
        for key, at in sorted(begun.items()):
            paused.add_metric(key, 1)
            since.add_metric(key, at)
        yield from (paused, since)

    def _throttles(self, now: float) -> Metric:
        slowed = GaugeMetricFamily(
            "whatsapp_gate_throttled_per_second",
            "Messages a second that a throttle lets through, the slowest of those with the same labels.",
            labels=("scope", "scope_id", "rule"),
        )
        rates: dict[tuple[str, str, str], float] = {}
        for pause in self._pauses():
            if pause.per_second is not None:
                labels = (pause.scope, _scope_id(pause), pause.rule)
                if labels not in rates and len(rates) >= self._caps.pauses // 2:
                    labels = (pause.scope, OTHER, pause.rule)
                rates[labels] = min(rates.get(labels, math.inf), rate(pause, now))
        for labels, per_second in sorted(rates.items()):
            slowed.add_metric(labels, per_second)
        return slowed

    def _probes(self, now: float) -> Metric:
        family = GaugeMetricFamily(
            "whatsapp_gate_probing",
            "1 while a pause lets some messages through to see whether all may go.",
            labels=("scope", "scope_id", "rule", "stage"),
        )
        found = [(pause, limit(pause, now)) for pause in self._pauses() if pause.probe is not None]
        labels = {
            (pause.scope, _scope_id(pause), pause.rule, allowed.name) for pause, allowed in found if allowed is not None
        }
        for one in sorted(labels)[: self._caps.pauses // 2]:
            family.add_metric(one, 1)
        return family

    def _rule_firings(self) -> Metric:
        active = GaugeMetricFamily(
            "whatsapp_monitor_rule_firings",
            "Groups in which a rule is pending or firing now.",
            labels=("rule", "state", "mode"),
        )
        counts = Counter((one.rule, one.state, one.mode) for one in list(self._firings()) if one.state != ENDED)
        for labels, count in sorted(counts.items()):
            active.add_metric(labels, count)
        return active

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


def _scope_id(pause: Pause) -> str:
    """Return the id as a label: a template, country or recipient is no bounded set."""
    return pause.scope_id if pause.scope in {"waba", "phone_number"} else ""
