"""One HTTP request over a connection of its own, or raw bytes over a socket, and what came back."""

import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request to a port of this machine; raise OSError where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return answer(connection.getresponse())
    except http.client.HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def answer(response: http.client.HTTPResponse) -> Answer:
    """Read a response to its end."""
    body = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def raw(port: int, pieces: Iterable[bytes]) -> Answer:
    """Send pieces of a request as they are, the last of which ends it, and return the answer that the client hears."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return hear(connection)


def hear(connection: socket.socket) -> Answer:
    """Return the answer on a connection; raise OSError where it ends without one."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        return answer(response)
    except http.client.HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    finally:
        response.close()
