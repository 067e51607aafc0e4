"""Coming back by trial, findings that are reinstated, and pauses that grow: as decisions and as what may be sent."""

import msgspec
import pytest

from monitor import decisions, gate, operators, probes
from monitor.actions import Alert, AlertAction, Evidence, Moment, Pause, PauseAction, is_in_force
from monitor.events import PauseReleased
from monitor.gate import Ask
from monitor.limits import limit
from monitor.probes import Probe
from monitor.rates import Rates
from monitor.standing import Standing

PROBE = Probe(0.0, 0.5, 60.0, 30.0)
EVENT = Evidence(1, "status", 0.0, 0.0, code=368)
STOP = PauseAction("rule", "why", "waba", "100", "all", None, "waba", (EVENT,))
ASK = Ask(phone_number_id="200", waba_id="100")


def moment(now: float, position: int = 1) -> Moment:
    return Moment(position, now, "hash")


def signal(action: PauseAction, at: float, kind: str = "status") -> PauseAction:
    return msgspec.structs.replace(action, evidence=(msgspec.structs.replace(EVENT, at=at, received_at=at, kind=kind),))


def only(stands: Standing) -> Pause:
    (pause,) = stands.pauses.values()
    return pause


def stage(pause: Pause, now: float) -> object:
    allowed = limit(pause, now) if is_in_force(pause, now) else None
    if allowed is None:
        return "closed" if is_in_force(pause, now) else "free"
    return allowed.per_second or allowed.share


@pytest.mark.parametrize(
    ("now", "expected"),
    [(0, "closed"), (99, "closed"), (100, 0.5), (159, 0.5), (160, 0.05), (190, 0.25), (219, 0.25), (220, "free")],
)
def test_a_pause_with_a_probe_opens_in_stages(now: float, expected: object) -> None:
    action = msgspec.structs.replace(STOP, seconds=100.0, probe=PROBE)
    stands, _ = decisions.decide(Standing(), [signal(action, 0.0)], moment(0.0))

    assert stage(only(stands), now) == expected


def test_a_signal_while_half_open_pauses_for_the_whole_time_again() -> None:
    action = msgspec.structs.replace(STOP, seconds=100.0, probe=PROBE)
    stands, _ = decisions.decide(Standing(), [signal(action, 0.0)], moment(0.0))

    stands, _ = decisions.decide(stands, [signal(action, 130.0)], moment(130.0, 2))

    pause = only(stands)
    assert [stage(pause, at) for at in (131.0, 229.0, 230.0, 290.0)] == ["closed", "closed", 0.5, 0.05]
    assert pause.evidence_count == 2


@pytest.mark.parametrize(("at", "kind"), [(99.0, "status"), (130.0, "anomaly")])
def test_what_is_older_than_the_opening_or_not_meta_s_closes_nothing(at: float, kind: str) -> None:
    action = msgspec.structs.replace(STOP, seconds=100.0, probe=PROBE)
    stands, _ = decisions.decide(Standing(), [signal(action, 0.0)], moment(0.0))

    stands, _ = decisions.decide(stands, [signal(action, at, kind)], moment(130.0, 2))

    assert stage(only(stands), 131.0) == 0.5


def test_an_operator_s_probe_opens_now_and_a_signal_ends_it_until_someone_resumes() -> None:
    stands, _ = decisions.decide(Standing(), [signal(STOP, 0.0)], moment(0.0))
    stands, changes = operators.release(stands, PauseReleased("ann", "try", "p1-0", PROBE), moment(50.0, 2))

    assert [type(change).__name__ for change in changes] == ["Pause", "AuditEntry"]
    assert [stage(only(stands), at) for at in (50.0, 110.0, 140.0, 170.0)] == [0.5, 0.05, 0.25, "free"]

    stands, _ = decisions.decide(stands, [signal(STOP, 120.0)], moment(120.0, 3))

    assert [stage(only(stands), at) for at in (120.0, 1e9)] == ["closed", "closed"]


def test_a_reinstated_finding_is_noted_and_stops_nothing_while_others_still_do() -> None:
    alert = AlertAction("rule", "why", "critical", (("waba", "100"),), None, STOP.evidence)
    stands, _ = decisions.decide(Standing(), [signal(STOP, 0.0), alert], moment(0.0))
    act = PauseReleased("ann", "a false alarm", "p1-0", reinstated_seconds=3600.0)
    stands, changes = operators.release(stands, act, moment(10.0, 2))

    assert changes[1].action == "reinstate"  # type: ignore[union-attr]
    stands, changes = decisions.decide(stands, [signal(STOP, 20.0), alert], moment(20.0, 3))
    assert gate.decide(stands.pauses.values(), ASK, {}, 21.0).allow
    assert not [change for change in changes if isinstance(change, Alert)]
    assert only(stands).evidence_count == 2

    other = msgspec.structs.replace(signal(STOP, 30.0), scope_id="101")
    stands, _ = decisions.decide(stands, [other], moment(30.0, 4))
    assert not gate.decide(stands.pauses.values(), Ask(waba_id="101"), {}, 31.0).allow

    stands, _ = decisions.decide(stands, [signal(STOP, 3700.0)], moment(3700.0, 5))
    assert not gate.decide(stands.pauses.values(), ASK, {}, 3701.0).allow


def test_a_growing_pause_starts_small_again_after_quiet() -> None:
    action = msgspec.structs.replace(STOP, seconds=1.0, factor=4.0, most_seconds=10.0)
    stands, lengths = Standing(), []
    for position, at in enumerate((0.0, 2.0, 7.0, 25.0, 1000.0), 1):
        stands, changes = decisions.decide(stands, [signal(action, at)], moment(at, position))
        (pause,) = [change for change in changes if isinstance(change, Pause)]
        lengths.append((pause.until or 0.0) - at)

    assert lengths == [1.0, 4.0, 10.0, 10.0, 1.0]


def test_what_was_under_way_does_not_make_a_growing_pause_longer() -> None:
    action = msgspec.structs.replace(STOP, seconds=4.0, factor=4.0, most_seconds=100.0)
    stands, _ = decisions.decide(Standing(), [signal(action, 0.0)], moment(0.0))
    stands, _ = decisions.decide(stands, [signal(action, 1.0)], moment(1.0, 2))

    assert (only(stands).until, only(stands).strikes) == (4.0, 0)


def test_a_share_lets_through_one_in_so_many() -> None:
    rates, held = Rates(), Pause("p", "all", "", "all", "rule", 368, "", "", 0.0, 1000.0, "all", probe=PROBE)

    allowed = [rates.take([held], 60.0 + number / 1000) == 0.0 for number in range(200)]
    more = [rates.take([held], 90.0 + number / 1000) == 0.0 for number in range(200)]

    assert (sum(allowed), sum(more)) == (10, 50)


def test_of_several_limits_none_is_charged_where_one_refuses() -> None:
    rates = Rates()
    slow, fast = (
        Pause(name, "all", "", "all", "rule", 1, "", "", 0.0, None, "all", per_second=rate)
        for name, rate in (("slow", 1.0), ("fast", 2.0))
    )

    first, second = rates.take([slow, fast], 0.0), rates.take([slow, fast], 0.1)

    assert (first, second > 0) == (0.0, True)
    assert rates.take([fast], 0.1) == 0.0  # it had two, and only one was taken


def test_a_probe_ends_where_its_last_share_does() -> None:
    assert probes.ends_at(PROBE) == 120.0
    assert probes.stage(PROBE, 120.0) == (probes.RAMPING, 1.0)
