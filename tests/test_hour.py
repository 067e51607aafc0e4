"""The last hour: counted by the minute of receipt, each event once, and let go when it is over."""

from monitor import hour
from monitor.events import Event, InboundMessage, MetaError, SendFailed, Status
from monitor.facts import Fact
from monitor.hour import MINUTES, Hour

NOW = 1_700_000_040.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def status(name: str) -> Status:
    return Status(f"s-{name}", "1", "2", NOW, "wamid.1", name, "person", "utility", None, (), "")


def failure() -> SendFailed:
    return SendFailed("f", "1", "2", NOW, "person", MetaError(368, "", ""))


def message() -> InboundMessage:
    return InboundMessage("m", "1", "2", NOW, "wamid.2", "text", "person", ())


def fact(event: Event | None, at: float = NOW, *, is_repeated: bool = False) -> Fact:
    return Fact(event, at, is_repeated=is_repeated)


def test_statuses_messages_and_failed_sends_are_counted_in_the_minute_that_they_came() -> None:
    counted = Hour(Clock())

    counted.observe([fact(status("sent")), fact(status("sent"), NOW - 60), fact(status("failed"), NOW - 60)])
    counted.observe([fact(failure()), fact(message())])

    minutes = counted.minutes()
    assert minutes.counts["sent"][-2:] == (1, 1)
    assert minutes.counts["failed"][-2:] == (1, 1)
    assert (minutes.total("sent"), minutes.total("sent", 1)) == (2, 1)
    assert (minutes.total("received"), minutes.total("failed")) == (1, 2)
    assert minutes.first_at == NOW // 60 * 60 - 60 * (MINUTES - 1)


def test_what_is_repeated_or_of_no_series_is_not_counted() -> None:
    counted = Hour(Clock())

    counted.observe([fact(status("sent"), is_repeated=True), fact(None), fact(status("warped"))])

    assert not any(counted.minutes().total(name) for name in hour.SERIES)


def test_what_came_while_nobody_listened_is_put_into_its_minute_unless_that_is_too_old() -> None:
    counted = Hour(Clock())

    counted.observe([fact(status("read"), NOW - 59 * 60), fact(status("read"), NOW - 61 * 60)])

    assert counted.minutes().counts["read"][0] == 1
    assert counted.minutes().total("read") == 1


def test_an_hour_later_nothing_is_left_and_nothing_is_kept() -> None:
    clock = Clock()
    counted = Hour(clock)
    for minute in range(200):
        clock.now = NOW + 60 * minute
        counted.refused()

    minutes = counted.minutes()

    assert minutes.counts["refused"] == (1,) * MINUTES
    assert len(counted._minutes) <= MINUTES + 1
    assert minutes.known_since == NOW
