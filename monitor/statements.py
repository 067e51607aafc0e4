"""What Meta last said of numbers, templates and accounts, and what campaigns came to, as gauges read at each scrape."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric

from monitor import incidents, states
from monitor.campaigns import HEADINGS
from monitor.memory import Memory
from monitor.metrics import VALUES_MOST, Metrics
from monitor.series import OTHER
from monitor.states import State
from monitor.store.protocol import Campaign

QUALITIES = ("GREEN", "YELLOW", "RED", "UNKNOWN")
PRESSURES = ("FLAGGED", "UNFLAGGED")
TEMPLATE_STATES = (
    "APPROVED", "REJECTED", "PENDING", "PAUSED", "FLAGGED", "DISABLED", "IN_APPEAL", "PENDING_DELETION", "DELETED",
    "LOCKED", "UNLOCKED", "REINSTATED", "LIMIT_EXCEEDED", "ARCHIVED",
)  # fmt: skip
GONE = frozenset({"DELETED", "PENDING_DELETION", "ARCHIVED"})
REVIEWS = ("APPROVED", "REJECTED", "PENDING", "DEFERRED")
_CHANGED = "_change_timestamp_seconds"
_T = TypeVar("_T")


class Statements:
    """A collector for the registry over the pipeline's memory and the newest campaigns."""

    def __init__(
        self,
        metrics: Metrics,
        memory: Memory,
        *,
        clock: Callable[[], float],
        idle_seconds: Callable[[], float],
        campaigns: Callable[[], Sequence[Campaign]],
        silent: Callable[[], Mapping[str, int]],
    ) -> None:
        self._metrics = metrics
        self._memory = memory
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._campaigns = campaigns
        self._silent = silent
        self._cut: dict[str, int] = {}

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples, by which a scrape of single names finds them."""
        for family in self.collect():
            family.samples = []
            yield family

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges as they are now."""
        now, caps = self._clock(), self._metrics.caps
        known = list(self._memory.states.values())[::-1]  # the newest first
        numbers = list(self._of_numbers(known))
        yield from _set(
            "whatsapp_phone_number_quality", "1 for what Meta last said of the number's quality.",
            ("waba_id", "phone_number_id", "quality"), PRESSURES,
            _first(_of(numbers, states.QUALITY), caps.numbers),
        )  # fmt: skip
        yield from self._limits([one for one in numbers if one[1].name == states.LIMIT])
        fresh = now - self._idle_seconds()
        for name, text, label, values in (
            (states.TEMPLATE_STATUS, "1 for the template's status.", "status", TEMPLATE_STATES),
            (states.TEMPLATE_QUALITY, "1 for the template's quality.", "quality", QUALITIES),
        ):
            lasting = [one for one in known if one.name == name and not self._is_gone(one, fresh)]
            found = self._capped("template", name, lasting, caps.templates)
            labelled = [((one.waba_id, one.template, one.language), one) for one in found]
            yield from _set(
                f"whatsapp_{name}",
                text,
                ("waba_id", "template", "language", label),
                values,
                _first(labelled, caps.templates),
            )
        reviews = [((state.waba_id,), state) for state in known if state.name == states.REVIEW]
        text = "1 for the last decision on the account."
        yield from _set(
            "whatsapp_account_review", text, ("waba_id", "decision"), REVIEWS, _first(reviews, caps.accounts)
        )
        yield from self._restrictions(known, now)
        yield self._windows(now)
        yield from self._of_campaigns(fresh)
        silent = GaugeMetricFamily(
            "whatsapp_messages_silent",
            "Messages that the Graph API took and that no status has told of since.",
            labels=("phone_number_id",),
        )
        for phone_number_id, count in sorted(self._bounded(self._silent()).items()):
            silent.add_metric((phone_number_id,), count)
        yield silent

    def _of_numbers(self, known: Iterable[State]) -> Iterator[tuple[tuple[str, ...], State]]:
        """Yield states of numbers that have series, and of portfolios, with their labels."""
        for state in known:
            if state.name in {states.QUALITY, states.LIMIT}:
                phone_number_id = state.phone_number_id or self._memory.phone_number_ids.get(state.number, "")
                is_portfolio = not (state.phone_number_id or state.number)
                if is_portfolio or self._metrics.has_series(phone_number_id):
                    yield (state.waba_id, phone_number_id), state

    def _is_gone(self, state: State, fresh: float) -> bool:
        """Say whether a template was deleted so long ago that its series may go."""
        status = self._memory.states.get(msgspec.structs.replace(state, name=states.TEMPLATE_STATUS).key)
        return status is not None and status.value in GONE and status.said_at < fresh

    def _limits(self, found: Iterable[tuple[tuple[str, ...], State]]) -> Iterator[Metric]:
        labels = ("waba_id", "phone_number_id")
        name = "whatsapp_messaging_limit"
        text = "Messages a day that Meta allows; of the portfolio without a number."
        limit = GaugeMetricFamily(name, text, labels=labels)
        changed = GaugeMetricFamily(f"{name}{_CHANGED}", "When the limit last changed.", labels=labels)
        for values, state in _first(found, self._metrics.caps.numbers):
            amount = -1.0 if state.amount is None else state.amount
            limit.add_metric(values, float("inf") if amount < 0 else amount)
            changed.add_metric(values, state.changed_at)
        yield from (limit, changed)

    def _restrictions(self, known: Iterable[State], now: float) -> Iterator[Metric]:
        labels = ("waba_id", "restriction")
        restricted = GaugeMetricFamily("whatsapp_account_restricted", "1 while the restriction lasts.", labels=labels)
        ends = GaugeMetricFamily(
            "whatsapp_account_restriction_end_timestamp_seconds", "When Meta says that it ends.", labels=labels
        )
        for state in [one for one in known if one.name == states.RESTRICTION][: self._metrics.caps.accounts]:
            if state.amount is None or state.amount > now:
                restricted.add_metric((state.waba_id, state.value), 1)
                if state.amount is not None:
                    ends.add_metric((state.waba_id, state.value), state.amount)
        yield from (restricted, ends)
        open_incidents = GaugeMetricFamily(
            "whatsapp_incidents_open", "Restrictions of an account that last.", labels=("waba_id",)
        )
        counts: dict[str, int] = {}
        standing = self._memory.standing
        for incident in standing.incidents.values():
            if incidents.ended_at(incident, standing.pauses, now) is None:
                counts[incident.waba_id] = counts.get(incident.waba_id, 0) + 1
        for waba_id, count in sorted(counts.items())[: self._metrics.caps.accounts]:
            open_incidents.add_metric((waba_id,), count)
        yield open_incidents

    def _windows(self, now: float) -> Metric:
        family = GaugeMetricFamily(
            "whatsapp_conversation_windows_open",
            "Customers who may be answered freely, since they wrote within 24 hours; the newest 200,000 at most.",
            labels=("phone_number_id",),
        )
        for phone_number_id, count in sorted(self._bounded(self._memory.conversations.counts(now)).items()):
            family.add_metric((phone_number_id,), count)
        return family

    def _of_campaigns(self, fresh: float) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "whatsapp_campaign_messages",
            "Messages of a campaign, by how far they came.",
            labels=("campaign", "outcome"),
        )
        spent = GaugeMetricFamily(
            "whatsapp_campaign_billable_messages",
            "Messages of a campaign that Meta bills.",
            labels=("campaign", "category"),
        )
        totals: dict[tuple[str, str], int] = {}
        lasting = [one for one in self._campaigns() if one.last_at > fresh]
        shown = {one.campaign for one in self._capped("campaign", "campaign", lasting, VALUES_MOST)}
        for one in lasting:
            name = one.campaign if one.campaign in shown else OTHER
            for heading, count in one.counts.items():
                totals[name, heading] = totals.get((name, heading), 0) + count
        for (name, heading), count in sorted(totals.items())[: self._metrics.caps.campaigns]:
            if heading in HEADINGS:
                family.add_metric((name, heading), count)
            elif heading.startswith("billable_"):
                spent.add_metric((name, heading.removeprefix("billable_")), count)
        yield from (family, spent)

    def _capped(self, label: str, family: str, found: list[_T], most: int) -> list[_T]:
        """Return those that have series; what is newly beyond the cap is counted."""
        beyond = max(0, len(found) - most)
        if beyond > self._cut.get(family, 0):
            self._metrics.labels_dropped.of(label).inc(beyond - self._cut.get(family, 0))
        self._cut[family] = beyond
        return found[:most]

    def _bounded(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return counts by phone number id, those without series of their own added up as `other`."""
        found: dict[str, int] = {}
        for phone_number_id, count in counts.items():
            label = phone_number_id if self._metrics.has_series(phone_number_id) else OTHER
            found[label] = found.get(label, 0) + count
        return found


def _of(found: Iterable[tuple[tuple[str, ...], State]], name: str) -> list[tuple[tuple[str, ...], State]]:
    return [(labels, state) for labels, state in found if state.name == name]


def _first(found: Iterable[tuple[tuple[str, ...], State]], most: int) -> list[tuple[tuple[str, ...], State]]:
    """Return the newest state of each set of labels, up to the cap."""
    kept: dict[tuple[str, ...], State] = {}
    for labels, state in found:
        kept.setdefault(labels, state)
    return list(kept.items())[:most]


def _set(
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: tuple[str, ...],
    found: Iterable[tuple[tuple[str, ...], State]],
) -> Iterator[Metric]:
    """Yield a state set (1 for the present value, 0 for the others) and when it last changed."""
    family = GaugeMetricFamily(name, text, labels=labels)
    changed = GaugeMetricFamily(f"{name}{_CHANGED}", "When it last changed.", labels=labels[:-1])
    for own, state in found:
        for value in values:
            family.add_metric((*own, value), state.value == value)
        if state.value not in values:
            family.add_metric((*own, OTHER), 1)
        changed.add_metric(own, state.changed_at)
    yield from (family, changed)
