"""What stands, and how decisions and operators' acts change it."""

import msgspec
import pytest

from monitor import decisions, operators, standing
from monitor.actions import (
    Action,
    Alert,
    AlertAction,
    Evidence,
    Flag,
    FlagAction,
    Moment,
    Pause,
    PauseAction,
    alert_ended_at,
    is_in_force,
)
from monitor.events import FlagResolved, PausePlaced, PauseReleased
from monitor.standing import Change, Standing
from tests.records import firing

PAUSE = PauseAction("rule", "why", "waba", "100", "all", None, "waba", (Evidence(1, "error", 1.0, 1.0, code=368),))
TIMED = msgspec.structs.replace(PAUSE, seconds=60.0)
FLAG = FlagAction(
    "rule", "why", (("phone_number_id", "200"),), {"source": {"a": 5}}, (Evidence(1, "error", 1.0, 1.0),) * 5
)
ALERT = AlertAction("rule", "why", "critical", (("waba", "100"),), 300.0, PAUSE.evidence)


def moment(now: float, position: int = 1) -> Moment:
    return Moment(position, now, "hash")


def only(changes: list[Change], kind: type) -> list[Change]:
    return [change for change in changes if isinstance(change, kind)]


def test_new_evidence_refreshes_a_pause_and_makes_no_second_one() -> None:
    stands, first = decisions.decide(Standing(), [PAUSE], moment(10.0))
    stands, second = decisions.decide(stands, [PAUSE], moment(20.0, 2))

    (pause,) = stands.pauses.values()
    assert (pause.id, pause.since, pause.evidence_count, len(pause.evidence)) == ("p1-0", 10.0, 2, 2)
    assert [type(change).__name__ for change in first] == ["Pause", "AuditEntry"]
    assert [type(change).__name__ for change in second] == ["Pause"]


def test_a_timed_pause_is_extended_by_new_evidence_and_never_shortened() -> None:
    stands, _ = decisions.decide(Standing(), [TIMED], moment(10.0))
    stands, _ = decisions.decide(stands, [TIMED], moment(40.0, 2))
    stands, _ = decisions.decide(stands, [msgspec.structs.replace(TIMED, seconds=1.0)], moment(41.0, 3))

    (pause,) = stands.pauses.values()
    assert pause.until == 100.0


def test_a_pause_that_is_over_is_followed_by_a_new_one() -> None:
    stands, _ = decisions.decide(Standing(), [TIMED], moment(10.0))
    stands, _ = decisions.decide(stands, [TIMED], moment(70.0, 2))

    assert sorted((pause.id, pause.until) for pause in stands.pauses.values()) == [("p1-0", 70.0), ("p2-0", 130.0)]


def test_a_release_ends_a_pause_once_and_says_who() -> None:
    stands, _ = operators.place(Standing(), PausePlaced("ann", "review", "all", "", "all", None), moment(10.0))
    act = PauseReleased("bob", "done", "p1-0")
    stands, first = operators.release(stands, act, moment(20.0, 2))
    stands, second = operators.release(stands, act, moment(30.0, 3))

    pause = stands.pauses["p1-0"]
    assert not is_in_force(pause, 20.0)
    assert (pause.released_at, pause.released_by, pause.release_reason) == (20.0, "bob", "done")
    assert len(only(first, Pause)) == 1
    assert only(second, Pause) == []


def test_a_flag_gathers_evidence_until_it_is_resolved() -> None:
    stands, _ = decisions.decide(Standing(), [FLAG], moment(10.0))
    stands, _ = decisions.decide(stands, [FLAG], moment(20.0, 2))
    stands, _ = operators.resolve(stands, FlagResolved("ann", "job stopped", "f1-0"), moment(30.0, 3))
    stands, _ = decisions.decide(stands, [FLAG], moment(40.0, 4))

    flags = standing.in_order(stands.flags)
    assert [(flag.id, flag.evidence_count, flag.resolved_by) for flag in flags] == [("f1-0", 6, "ann"), ("f4-0", 5, "")]


def test_an_alert_lasts_as_long_as_its_pause() -> None:
    stands, _ = decisions.decide(Standing(), [PAUSE, ALERT], moment(10.0))
    (alert,) = stands.alerts.values()
    before = alert_ended_at(alert, stands.pauses, 10_000.0)
    stands, _ = operators.release(stands, PauseReleased("ann", "x", "p1-0"), moment(20_000.0, 2))

    assert alert.labels == {"alertname": "rule", "severity": "critical", "waba_id": "100"}
    assert before is None
    assert alert_ended_at(alert, stands.pauses, 20_001.0) == 20_000.0


def test_an_alert_without_a_pause_ends_when_it_has_been_quiet() -> None:
    stands, _ = decisions.decide(Standing(), [ALERT], moment(10.0))
    stands, _ = decisions.decide(stands, [ALERT], moment(200.0, 2))
    (alert,) = stands.alerts.values()

    assert alert.evidence_count == 2
    assert alert_ended_at(alert, {}, 499.9) is None
    assert alert_ended_at(alert, {}, 500.0) == 500.0


def test_what_is_long_over_is_forgotten_and_what_is_needed_is_kept() -> None:
    stands, _ = decisions.decide(Standing(), [TIMED, ALERT, FLAG], moment(10.0))

    soon = standing.forget(stands, 100.0)
    late = standing.forget(stands, 10_000.0)

    assert (len(soon.pauses), len(soon.alerts), len(soon.flags)) == (1, 1, 1)
    assert (len(late.pauses), len(late.alerts), len(late.flags)) == (0, 0, 1)


def test_what_is_left_is_as_if_what_is_forgotten_had_never_been() -> None:
    pair = msgspec.structs.replace(TIMED, scope="pair", scope_id="200:a")
    asked: list[Action] = [
        TIMED,
        pair,
        FLAG,
        ALERT,
        msgspec.structs.replace(ALERT, rule="other", group=(("waba", "101"),)),
    ]
    lasting: list[Action] = [
        msgspec.structs.replace(pair, rule="other", scope_id="200:b", seconds=9_000.0),
        msgspec.structs.replace(PAUSE, rule="third"),
    ]
    stands, _ = decisions.decide(Standing(), asked, moment(10.0))
    stands, _ = operators.resolve(stands, FlagResolved("ann", "x", next(iter(stands.flags))), moment(11.0, 2))
    both, kept = decisions.decide(stands, lasting, moment(20.0, 3))

    assert standing.forget(both, 5_000.0) == standing.of(kept)


def test_records_survive_their_own_encoding() -> None:
    stands, _ = decisions.decide(Standing(), [PAUSE, ALERT, FLAG], moment(10.0))

    for record in (*stands.pauses.values(), *stands.alerts.values(), *stands.flags.values()):
        assert isinstance(record, Pause | Alert | Flag)
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


def test_an_alert_names_what_most_of_its_evidence_has_in_common() -> None:
    evidence = tuple(
        Evidence(number, "status", 1.0, 1.0, code=506, wamid=f"wamid.{number}", source="import", caller=caller)
        for number, caller in enumerate(("billing", "billing", "orders"))
    )
    stands, changes = decisions.decide(Standing(), [msgspec.structs.replace(ALERT, evidence=evidence)], moment(10.0))

    (alert,) = only(changes, Alert)
    assert isinstance(alert, Alert)
    assert (alert.source, alert.wamid) == ("source import (3 of 3)", "wamid.2")
    assert len(stands.alerts) == 1


def test_the_end_of_a_firing_looks_at_nothing_that_others_brought_about(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(pause: Pause, now: float) -> bool:
        looked.append(pause.id)
        return is_in_force(pause, now)

    monkeypatch.setattr(decisions, "is_in_force", look)
    cleared = msgspec.structs.replace(PAUSE, until_cleared=True)
    actions: list[Action] = [
        msgspec.structs.replace(cleared, scope_id=str(one), firing_id=f"g{one}") for one in range(99)
    ]
    stands, _ = decisions.decide(Standing(), actions, moment(10.0))
    looked.clear()

    stands, changes = decisions.end(stands, firing(7), moment(20.0, 2))

    assert looked == ["p1-7"]
    assert [change.id for change in changes if isinstance(change, Pause)] == ["p1-7"]


def test_what_is_forgotten_is_forgotten_of_its_firing_too() -> None:
    actions: list[Action] = [
        msgspec.structs.replace(TIMED, firing_id="f1"),
        msgspec.structs.replace(ALERT, firing_id="f1"),
    ]
    stands, _ = decisions.decide(Standing(), actions, moment(10.0))
    assert {one[0] for one in stands.of_firing["f1"]} == {"p", "a"}

    assert standing.forget(stands, 1e9).of_firing == Standing().of_firing
