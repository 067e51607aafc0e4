"""The proxy with the faults of networks has each of them, and none when it is well."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import exchange
from tests.harness.target import Target
from tests.harness.wire import Wire

PIECE_BYTES, DELAY_SECONDS = 8, 0.01


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as made:
        yield made


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with Wire(target.port, delay_seconds=DELAY_SECONDS, piece_bytes=PIECE_BYTES) as made:
        yield made


def ask(wire: Wire) -> int:
    """Post over a connection that waits for a moment only."""
    with socket.create_connection(("127.0.0.1", wire.port), timeout=0.3) as connection:
        return post(connection)


def post(connection: socket.socket) -> int:
    connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
    return exchange.hear(connection).status


def heard(target: Target) -> bool:
    end = time.monotonic() + 0.3
    while not target.heard and time.monotonic() < end:
        time.sleep(0.01)
    return bool(target.heard)


@pytest.mark.parametrize("mood", ["well", "slow", "dripping"])
def test_bytes_arrive_there_and_back(wire: Wire, target: Target, mood: str) -> None:
    wire.turn(mood)
    began_at = time.monotonic()

    status = ask(wire)

    assert status == 200
    assert target.received[0].body == b"{}"
    assert (time.monotonic() - began_at > 2 * DELAY_SECONDS) == (mood != "well")


@pytest.mark.parametrize(
    ("mood", "error", "is_heard"),
    [
        ("refusing", ConnectionRefusedError, False), ("resetting", ConnectionResetError, False),
        ("half_open", TimeoutError, False), ("mute_there", TimeoutError, False), ("mute_back", TimeoutError, True),
        ("cutting", ConnectionError, True),
    ],
)  # fmt: skip
def test_each_fault_is_one_and_is_over_with_its_mood(
    wire: Wire, target: Target, mood: str, error: type[OSError], is_heard: bool
) -> None:
    wire.turn(mood)
    with pytest.raises(error):
        ask(wire)
    assert heard(target) == is_heard

    wire.turn("well")

    assert ask(wire) == 200


def test_a_connection_that_is_open_feels_a_new_mood(wire: Wire) -> None:
    faults: list[Callable[[], None]] = [lambda: wire.turn("resetting"), lambda: wire.turn("refusing")]
    for fault in faults:
        wire.turn("well")
        with socket.create_connection(("127.0.0.1", wire.port), timeout=1) as connection:
            assert post(connection) == 200
            fault()
            with pytest.raises(ConnectionError):
                post(connection)
