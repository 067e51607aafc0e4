"""What Prometheus scrapes: what is counted, what is bounded, and that no input can break the page."""

import re

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from monitor import codes, messages, observe
from monitor.actions import Pause
from monitor.events import AccountEvent, ErrorReport, MetaError, MetaEvent, Pricing, Status, Unparsed
from monitor.exposition import Page
from monitor.facts import Fact
from monitor.messages import Message
from monitor.metrics import VALUES_MOST, Metrics
from monitor.series import MOST, Budget, Cached, caps

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PRICING = Pricing("utility", "PMP", "true")


class World:
    """A set of metrics fed with events."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, codes.catalogue())
        self.known: dict[str, Message] = {}

    def hear(self, *events: MetaEvent) -> None:
        facts = []
        for event in events:
            advance = None
            if isinstance(event, Status):
                advance = messages.advance(self.known.get(event.wamid), event, 1_000.0)
                if advance is not None:
                    self.known[event.wamid] = advance.message
            facts.append(Fact(event, 1_000.0, isinstance(event, Status) and advance is None, advance))
        observe.facts(self.metrics, None, facts, 1_000.5)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def page(self, accept: str = "") -> str:
        return Page(self.registry).text(accept, ())[0].decode()


@pytest.fixture
def world() -> World:
    return World()


def status(name: str, at: float = 990.0, *, wamid: str = "w", number: str = "200", code: int | None = None) -> Status:
    errors = () if code is None else (MetaError(code, "", ""),)
    return Status(f"{wamid}|{name}|{at}", "100", number, at, wamid, name, "", "utility", PRICING, errors, "")


def test_each_known_code_starts_at_zero_once_a_number_is_seen(world: World) -> None:
    world.hear(status("sent"))

    series = re.findall(r'whatsapp_errors_total\{code="(\w+)".*\} 0\.0', world.page())
    assert set(series) == {str(code) for code in codes.catalogue().codes} | {"other"}


def test_anomalies_and_duplicates_start_at_zero_once_a_number_is_seen_and_quarantine_at_once(world: World) -> None:
    assert world.value("whatsapp_monitor_quarantined_total", stage="parse") == 0
    assert world.value("whatsapp_monitor_events_total", kind="unparsed") == 0

    world.hear(status("sent"))

    number = {"phone_number_id": "200"}
    assert world.value("whatsapp_message_anomalies_total", **number, anomaly="unknown_send") == 0
    assert world.value("whatsapp_duplicate_sends_total", **number, trigger="repeat", outcome="refused") == 0
    assert world.value("whatsapp_incidents_total", waba_id="100", witness="account") == 0


def test_what_is_new_is_counted_and_what_is_repeated_is_not(world: World) -> None:
    world.hear(status("sent"), status("sent"), status("delivered", 993.0), status("failed", 995.0, code=131026))
    world.hear(status("delivered", 993.0))

    sender = {"waba_id": "100", "phone_number_id": "200"}
    assert world.value("whatsapp_statuses_total", **sender, status="sent") == 1
    assert world.value("whatsapp_statuses_total", **sender, status="delivered") == 1
    assert world.value("whatsapp_errors_total", **sender, code="131026", origin="status") == 1
    assert world.value("whatsapp_monitor_events_total", kind="status") == 5
    assert world.value("whatsapp_monitor_repeated_events_total", kind="status") == 2
    priced = {**sender, "category": "utility", "pricing_model": "PMP", "billable": "true"}
    assert world.value("whatsapp_messages_priced_total", **priced) == 1
    assert world.value("whatsapp_delivery_seconds_sum", phone_number_id="200", category="utility") == 3


def test_an_unknown_code_is_other(world: World) -> None:
    world.hear(ErrorReport("k", "100", "200", 1.0, "messages", MetaError(424242, "", "")))

    labels = {"waba_id": "100", "phone_number_id": "200", "code": "other", "origin": "webhook"}
    assert world.value("whatsapp_errors_total", **labels) == 1


def test_other_kinds_are_counted_by_their_names(world: World) -> None:
    world.hear(AccountEvent("k", "100", "", 1.0, "account_update", "BAN"), Unparsed("k", "", 1.0, "not_json", ""))

    assert world.value("whatsapp_account_events_total", waba_id="100", field="account_update", event="BAN") == 1
    assert world.value("whatsapp_monitor_unparsed_total", reason="not_json") == 1


def test_a_flood_of_made_up_values_is_bounded_and_counted(world: World) -> None:
    world.hear(*(status(f"status-{number}", wamid=f"w{number}") for number in range(2 * VALUES_MOST)))
    world.hear(*(status("sent", wamid=f"n{number}", number=str(number)) for number in range(2 * caps(MOST).numbers)))

    names = re.findall(r'whatsapp_statuses_total\{phone_number_id="200",status="(status-\d+|other)"', world.page())
    numbers = set(re.findall(r'whatsapp_phone_number_info\{phone_number_id="(\d+)"', world.page()))
    assert len(names) == VALUES_MOST + 1
    assert len(numbers) == caps(MOST).numbers
    assert (world.value("whatsapp_monitor_labels_dropped_total", label="status") or 0) > 0
    assert (world.value("whatsapp_monitor_labels_dropped_total", label="phone_number_id") or 0) > 0


@pytest.mark.parametrize(
    ("scope", "scope_id", "covered"),
    [("all", "", True), ("waba", "100", True), ("waba", "101", False), ("phone_number", "200", True),
     ("phone_number", "201", False), ("recipient", "", False)],
)  # fmt: skip
def test_leaks_of_the_numbers_that_a_pause_covers_start_at_zero(
    world: World, scope: str, scope_id: str, covered: bool
) -> None:
    world.hear(status("sent"))
    pause = Pause("p1", scope, scope_id, "all", "policy_block", 368, "", "", 1.0, None, scope)

    observe.facts(world.metrics, None, [Fact(None, 1_000.0, changes=(pause,))], 1_000.0)

    leaks = world.value("whatsapp_gate_leaks_total", phone_number_id="200", rule="policy_block")
    assert leaks == (0 if covered else None)


def test_no_text_can_break_the_page(world: World) -> None:
    world.hear(AccountEvent("k", 'a"}\n# HELP x', "", 1.0, "\x1b[31m\\", "é" * 500))

    families = {family.name for family in text_string_to_metric_families(world.page())}
    assert "whatsapp_account_events" in families
    assert world.page(OPENMETRICS).endswith("# EOF\n")


def test_exemplars_stand_in_openmetrics_only(world: World) -> None:
    histogram = world.metrics.delivery_seconds.of("200", "utility")

    histogram.observe(3.0, {"trace_id": "a" * 32, "span_id": "b" * 16})

    assert f'trace_id="{"a" * 32}"' in world.page(OPENMETRICS)
    assert "trace_id" not in world.page()


def test_a_number_that_went_away_loses_its_series_and_frees_its_place() -> None:
    world = World()
    for number in range(caps(MOST).numbers + 1):
        world.metrics.sender("100", f"2{number}")
    world.metrics.heard(1_000.0)
    world.metrics.sender("100", "20")
    world.metrics.heard(5_000.0)

    gone = world.metrics.remove_idle(2_000.0)
    world.hear(status("sent", number="20"))

    assert gone >= caps(MOST).numbers - 1
    assert world.value("whatsapp_statuses_total", waba_id="100", phone_number_id="20", status="sent") == 1
    assert world.value("whatsapp_statuses_total", waba_id="100", phone_number_id="21", status="sent") is None
    assert "21" not in {
        sample.labels.get("phone_number_id") for family in world.registry.collect() for sample in family.samples
    }


def test_what_is_beyond_the_budget_is_counted_as_other_and_frees_its_place_again() -> None:
    refused = []
    budget = Budget(8, lambda: refused.append(1))
    registry = CollectorRegistry()
    cached = Cached(
        Counter("c", "", ["phone_number_id", "origin"], registry=registry), ("phone_number_id", "origin"), 2, budget
    )
    for number in range(10):
        cached.of(str(number), "status").inc()
    cached.remove("phone_number_id", "0")
    cached.remove("phone_number_id", "1")
    cached.of("9", "status").inc()

    def count(number: str) -> float | None:
        return registry.get_sample_value("c_total", {"phone_number_id": number, "origin": "status"})

    assert [count(number) for number in ("0", "3", "4", "9", "other")] == [None, 1, None, 1, 6]
    assert (budget.spent, len(refused)) == (8, 6)


@pytest.mark.parametrize("most", [2_000, 5_000, 200_000])
def test_the_shares_of_all_series_are_no_more_than_there_may_be(most: int) -> None:
    shares = caps(most)

    gauges = 8 * shares.numbers + 20 * shares.templates + 8 * shares.accounts + shares.campaigns + 3 * shares.pauses
    assert shares.counted + gauges <= most


def test_only_the_first_numbers_have_all_codes_prepared_and_others_the_grave_ones() -> None:
    world = World()
    for number in range(60):
        world.metrics.sender("100", f"2{number}")

    def prepared(number: str, code: str) -> bool:
        labels = {"waba_id": "100", "phone_number_id": number, "code": code}
        return any(
            sample.labels.items() >= labels.items()
            for metric in world.metrics.errors.metric.collect()
            for sample in metric.samples
        )

    assert [prepared(number, "131026") for number in ("20", "28", "259")] == [True, False, False]
    assert [prepared(number, "368") for number in ("20", "28", "259")] == [True, True, False]
    status = {"waba_id": "100", "phone_number_id": "20", "origin": "status"}
    assert world.value("whatsapp_errors_total", **status, code="506") == 0  # though Meta documents it elsewhere
