"""Ports for the servers of tests, outside the range that the kernel gives to outgoing connections.

A client that tries again and again to reach a dead server in that range may one day be given the server's own port.
"""

import random
import socket

RANGE = range(20_000, 32_000)
_given: set[int] = set()


def free() -> int:
    """Return a port of the loopback interface that nobody listens on, never the same one twice."""
    for port in random.sample(RANGE, 200):
        if port in _given:
            continue
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("no free port")
