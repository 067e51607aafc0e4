"""Time that goes on whatever happens to the machine's clock."""

import pytest

from monitor.steady import FOLLOWED_SECONDS, Steady

START, HOUR, DAY = 1_700_000_000.0, 3_600.0, 86_400.0


class Machine:
    """A machine's two clocks."""

    def __init__(self) -> None:
        self.passed = 100.0
        self.off_by = START - 100.0
        self.clock = Steady(lambda: self.passed + self.off_by, lambda: self.passed)

    def wait(self, seconds: float) -> None:
        self.passed += seconds


def test_without_a_jump_it_is_the_wall_clock() -> None:
    machine = Machine()
    machine.wait(10.0)

    assert machine.clock() == START + 10
    assert machine.clock.off_by_seconds == 0


def test_small_corrections_are_followed_however_many_they_are() -> None:
    machine = Machine()
    for _ in range(10):
        machine.off_by += FOLLOWED_SECONDS / 2
        machine.wait(1.0)
        machine.clock()

    assert machine.clock() == START + 10 + 5 * FOLLOWED_SECONDS


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 30 * DAY, -DAY, FOLLOWED_SECONDS + 0.1])
def test_a_jump_is_told_and_not_followed_until_it_is_taken_back(jump: float) -> None:
    machine = Machine()
    machine.off_by += jump
    machine.wait(60.0)

    assert machine.clock() == pytest.approx(START + 60)
    assert machine.clock.off_by_seconds == pytest.approx(jump)
    machine.off_by -= jump
    assert machine.clock() == START + 60
    assert machine.clock.off_by_seconds == 0


def test_meta_s_timestamps_show_that_the_machine_stood_still() -> None:
    machine = Machine()
    machine.off_by += 2 * HOUR
    machine.clock()

    assert not machine.clock.heard(START - 10)
    assert machine.clock.heard(START + 2 * HOUR - 1)
    assert machine.clock() == START + 2 * HOUR
    assert machine.clock.off_by_seconds == 0


@pytest.mark.parametrize(
    ("jump", "heard"),
    [(HOUR, START), (HOUR, START + 4), (HOUR, START + HOUR + 10), (-DAY, START), (-DAY, START + 60), (0.0, START + 60)],
)
def test_a_timestamp_that_shows_no_such_thing_changes_nothing(jump: float, heard: float) -> None:
    machine = Machine()
    machine.off_by += jump

    assert not machine.clock.heard(heard)
    assert machine.clock() == START
