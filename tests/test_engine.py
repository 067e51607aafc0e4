"""Rules over events: what follows from one, given the windows of those before it."""

from collections.abc import Sequence

import msgspec
import pytest

from monitor import engine, turns
from monitor.actions import Action, AlertAction, FlagAction, Moment, PauseAction, ResendAction
from monitor.events import AccountEvent, ErrorReport, InboundMessage, MetaError, MetaEvent, Status
from monitor.memory import Memory
from monitor.step import Known, Step
from monitor.windows import Windows
from tests import setting

CORE = """
rules:
  - name: block
    match: {code: 368}
    actions: [{pause: {scope: waba, until: resumed}}, {alert: {severity: critical}}]
  - name: burst
    match: {code: 506}
    count: {at_least: 3, within: 1m}
    by: [phone_number_id]
    actions: [{flag: {evidence: [source, recipient]}}, alert]
  - name: expired
    match: {code: 131043}
    actions: [resend]
"""


class Rules:
    """Rules, their windows and firings, to which events happen."""

    def __init__(self, text: str) -> None:
        self.settings = setting.settings(text.encode())
        self.windows = Windows()
        self.memory = Memory()

    def hear(self, event: MetaEvent, position: int, received_at: float) -> list[Action]:
        """Return what rules do about an event."""
        plan = self.settings.plan
        step = Step(self.settings, self.windows, self.memory, Known())
        outcome = engine.evaluate(plan, self.windows, event, position, received_at)
        effect = turns.take(step, outcome.signals, Moment(position, received_at, plan.hash))
        self.memory.learn_firings(step.firings.values(), received_at)
        return list(effect.actions)


def failed(
    code: int, at: float = 0.0, *, number: str = "200", waba_id: str = "100", wamid: str = "", source: str = ""
) -> Status:
    wamid = wamid or f"wamid.{at}"
    errors = (MetaError(code, "", ""),)
    return Status(
        f"{wamid}|failed|{at}", waba_id, number, at, wamid, "failed", "someone", "utility", None, errors, source
    )


def report(code: int, at: float = 0.0, *, number: str = "200", waba_id: str = "100") -> ErrorReport:
    return ErrorReport(f"{at}", waba_id, number, at, "messages", MetaError(code, "", ""))


def live(text: str, events: Sequence[MetaEvent]) -> list[list[Action]]:
    rules = Rules(text)
    return [rules.hear(event, position, event.occurred_at) for position, event in enumerate(events, 1)]


def names(actions: Sequence[Action]) -> list[tuple[str, str]]:
    return [(type(action).__name__, action.rule) for action in actions]


INBOUND = InboundMessage("k", "100", "200", 0.0, "wamid.in", "unsupported", "someone", (MetaError(368, "", ""),))
ACCOUNT = ErrorReport("k", "100", "200", 0.0, "account_update", MetaError(368, "", ""))


@pytest.mark.parametrize("event", [failed(368), report(368), INBOUND, ACCOUNT])
def test_a_code_acts_wherever_meta_puts_it(event: MetaEvent) -> None:
    (actions,) = live(CORE, [event])

    assert names(actions) == [("PauseAction", "block"), ("AlertAction", "block")]


def test_a_pause_takes_the_scope_that_the_event_tells() -> None:
    told, narrower, nothing = live(CORE, [report(368), report(368, waba_id=""), report(368, waba_id="", number="")])

    pauses = [actions[0] for actions in (told, narrower, nothing)]
    assert all(isinstance(pause, PauseAction) for pause in pauses)
    assert [(pause.scope, pause.scope_id, pause.asked_scope) for pause in pauses if isinstance(pause, PauseAction)] == [
        ("waba", "100", "waba"),
        ("phone_number", "200", "waba"),
        ("all", "", "waba"),
    ]


@pytest.mark.parametrize(("third_at", "is_burst"), [(60.0, True), (60.5, False)])
def test_a_count_is_within_its_window_edges_included(third_at: float, is_burst: bool) -> None:
    *_, last = live(CORE, [failed(506, 0.0), failed(506, 30.0), failed(506, third_at)])

    assert bool(last) == is_burst


def test_events_that_arrive_out_of_order_make_the_same_burst() -> None:
    rules = Rules(CORE)
    times = [100.0, 160.0, 130.0]

    found = [rules.hear(failed(506, at), position, 200.0 + position) for position, at in enumerate(times)]

    assert [bool(actions) for actions in found] == [False, False, True]


def test_groups_are_counted_apart() -> None:
    found = live(CORE, [failed(506, float(at), number=str(at % 2)) for at in range(4)])

    assert not any(found)


def test_a_flag_names_its_top_sources() -> None:
    *_, last = live(CORE, [failed(506, float(at), source="a" if at else "b") for at in range(4)])

    flag = last[0]
    assert isinstance(flag, FlagAction)
    assert flag.sources == {"source": {"a": 3, "b": 1}, "recipient": {"someone": 4}}
    assert flag.group == (("phone_number_id", "200"),)


def test_an_alert_of_a_pause_is_about_its_scope() -> None:
    (actions,) = live(CORE, [report(368)])

    alert = actions[1]
    assert isinstance(alert, AlertAction)
    assert alert.group == (("waba", "100"),)


def test_a_resend_waits_as_long_as_the_rule_says() -> None:
    text = CORE.replace("actions: [resend]", "actions: [{resend: {after: 5m}}]")

    (actions,) = live(text, [failed(131043)])

    assert isinstance(actions[0], ResendAction)
    assert actions[0].after_seconds == 300


def test_a_rule_acts_once_for_an_event_with_two_matching_errors() -> None:
    event = failed(368)
    twice = msgspec.structs.replace(event, errors=event.errors * 2)

    (actions,) = live(CORE, [twice])

    assert names(actions) == [("PauseAction", "block"), ("AlertAction", "block")]


@pytest.mark.parametrize(
    ("match", "is_matched"),
    [
        ("{code: [1, 368]}", True),
        ("{code: {from: 300, to: 368}}", True),
        ("{code: {from: 369, to: 400}}", False),
        ("{class: policy_block}", True),
        ("{hits: waba, retryable: later}", True),
        ("{status: failed, origin: status}", True),
        ("{status: sent}", False),
        ("{phone_number_id: {regex: '2.*'}}", True),
        ("{phone_number_id: {regex: '2'}}", False),
        ("{code: 368, category: marketing}", False),
        ("{kind: status}", True),
    ],
)
def test_all_the_facts_of_a_match_must_hold(match: str, is_matched: bool) -> None:
    text = f"rules: [{{name: one, match: {match}, actions: [flag]}}]"

    (actions,) = live(text, [failed(368)])

    assert bool(actions) == is_matched


def test_an_account_event_matches_by_field_and_event() -> None:
    text = "rules: [{name: one, match: {field: account_update, event: DISABLED_UPDATE}, actions: [flag]}]"
    events = [AccountEvent("k", "100", "", 0.0, "account_update", event) for event in ("DISABLED_UPDATE", "OTHER")]

    found = live(text, events)

    assert [bool(actions) for actions in found] == [True, False]


def test_a_replay_into_new_windows_gives_the_same_actions() -> None:
    events = [failed(506, at * 7.0, number=str(at % 3)) for at in range(40)]

    assert live(CORE, events) == live(CORE, events)


def test_an_event_without_errors_meets_no_code_rule() -> None:
    sent = Status("k", "100", "200", 0.0, "wamid.1", "sent", "", "", None, (), "")

    assert live(CORE, [sent]) == [[]]


@pytest.mark.parametrize(
    ("scope", "event", "told"),
    [
        ("phone_number", report(368, number=""), ("waba", "100")),
        ("template", report(368), ("phone_number", "200")),
        ("template", failed(368), ("recipient", "someone")),
        ("recipient", report(368, number=""), ("waba", "100")),
        ("waba", report(368, waba_id="", number=""), ("all", "")),
        ("all", failed(368), ("all", "")),
    ],
)
def test_a_scope_that_the_event_does_not_tell_is_the_nearest_that_it_does(
    scope: str, event: MetaEvent, told: tuple[str, str]
) -> None:
    pausing = f"actions: [{{pause: {{scope: {scope}, for: 1h}}}}]"
    (actions,) = live(f"rules: [{{name: one, match: {{code: 368}}, {pausing}}}]", [event])

    (pause,) = actions
    assert isinstance(pause, PauseAction)
    assert (pause.scope, pause.scope_id, pause.asked_scope) == (*told, scope)
