"""When a destination is told what of an alert."""

import pytest

from monitor import tellings
from monitor.tellings import FIRING, LATE_SECONDS, RESOLVED, RESOLVED_SECONDS, Plan
from monitor.wordings import RESEND_SECONDS

CREATED, NOW = 1_000.0, 2_000.0


@pytest.mark.parametrize(
    ("told", "ended_at", "plan"),
    [
        (0, None, Plan(FIRING, NOW + RESEND_SECONDS)),
        (7, None, Plan(FIRING, NOW + RESEND_SECONDS)),
        (7, NOW - 1, Plan(RESOLVED, NOW + RESEND_SECONDS)),
        (7, NOW - RESOLVED_SECONDS, Plan(RESOLVED, None)),
        (0, NOW - RESOLVED_SECONDS, Plan(FIRING, NOW + LATE_SECONDS)),
        (0, CREATED, Plan(RESOLVED, None)),
    ],
)
def test_alertmanager_is_kept_awake_and_hears_the_end_for_a_while(
    told: int, ended_at: float | None, plan: Plan
) -> None:
    assert tellings.kept_alive(told, CREATED, ended_at, NOW) == plan


@pytest.mark.parametrize(
    ("told", "ended_at", "is_end_told", "plan"),
    [
        (0, None, True, Plan(FIRING, NOW + RESEND_SECONDS)),
        (1, None, True, Plan(None, NOW + RESEND_SECONDS)),
        (1, NOW - 1, True, Plan(RESOLVED, None)),
        (1, NOW - 1, False, Plan(None, None)),
        (0, NOW - 1, True, Plan(FIRING, NOW)),
        (0, NOW - 1, False, Plan(FIRING, None)),
        (0, CREATED, True, Plan(None, None)),
    ],
)
def test_others_hear_the_beginning_and_the_end_once(
    told: int, ended_at: float | None, is_end_told: bool, plan: Plan
) -> None:
    assert tellings.once(told, CREATED, ended_at, NOW, is_end_told=is_end_told) == plan


@pytest.mark.parametrize(("sequence", "ended_at", "says"), [(2, None, FIRING), (1, None, None), (2, NOW, None)])
def test_only_the_newest_reminder_of_what_lasts_is_sent(
    sequence: int, ended_at: float | None, says: str | None
) -> None:
    assert tellings.reminder(sequence, 2, ended_at) == Plan(says, None)
