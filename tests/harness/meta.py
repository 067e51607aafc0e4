"""Meta's side: signed webhooks over connections that stay open, sent again until they are answered 200."""

import contextlib
import http.client
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from monitor import payloads, signature
from tests.harness import exchange, patience
from tests.harness.exchange import Answer
from tests.harness.sidecar import APP_SECRET, Sidecar

WABA_ID = "100000000000001"
NUMBER = "200000000000001"
PATH = "/webhook"
AGAIN_SECONDS = 0.01  # Meta waits for minutes; a test has none


class Traffic:
    """Deliveries of made-up messages: in batches, out of order, and some statuses a second time in another batch."""

    def __init__(self, seed: int, name: str = "traffic") -> None:
        self._chance = random.Random(seed)
        self._name = name
        self._serial = itertools.count()
        self._coming: list[dict[str, object]] = []
        self._lock = threading.Lock()

    def delivery(self) -> bytes:
        """Return the next body: one to five statuses, each of a body that was never returned before."""
        with self._lock:
            while len(self._coming) < 40:
                self._coming.extend(self._life())
            self._chance.shuffle(self._coming)
            batch = [self._coming.pop() for _ in range(self._chance.randint(1, 5))]
            if self._chance.random() < 0.1:
                self._coming.append(batch[0])
            # A number of its own in each body: the same statuses in two bodies are two deliveries of the same events.
            other = payloads.message(f"wamid.{self._name}.in.{next(self._serial)}", time.time())
            return payloads.delivery(payloads.change(NUMBER, statuses=batch, messages=[other]), waba_id=WABA_ID)

    def _life(self) -> list[dict[str, object]]:
        wamid, now = f"wamid.{self._name}.{next(self._serial)}", time.time()
        return [payloads.status(wamid, name, now + offset) for offset, name in enumerate(("sent", "delivered", "read"))]


class Meta:
    """A sender; `sent` holds the signature of each body that left, `acked` the bodies that were answered 200."""

    def __init__(self, port: int, *, secret: str = APP_SECRET, path: str = PATH) -> None:
        self.sent: dict[bytes, str] = {}
        self.acked: dict[bytes, None] = {}
        self._port = port
        self._secret = secret.encode()
        self._path = path
        self._own = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def post(self, body: bytes) -> Answer:
        """Send a body over this thread's connection; raise OSError where no answer comes, over a new one either."""
        signed = self.sent.setdefault(body, signature.sign(body, self._secret))
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signed}
        connection = self._connection()
        is_used = connection.sock is not None
        try:
            answer = _exchange(connection, self._path, body, headers)
        except ConnectionError:
            if not is_used:
                raise
            answer = _exchange(connection, self._path, body, headers)
        if answer.status == 200:
            self.acked[body] = None
        return answer

    def deliver(self, body: bytes, *, seconds: float = 10.0, stop: threading.Event | None = None) -> bool:
        """Send a body until it is answered 200, as Meta does; say whether it was."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (stop is not None and stop.is_set()):
            try:
                if self.post(body).status == 200:
                    return True
            except ConnectionError:
                pass
            time.sleep(AGAIN_SECONDS)
        return False

    def statuses(self, *items: dict[str, object], number: str = NUMBER, waba_id: str = WABA_ID) -> Answer:
        """Send one delivery of these statuses."""
        return self.post(payloads.delivery(payloads.change(number, statuses=list(items)), waba_id=waba_id))

    def error(self, code: int, *, number: str = NUMBER, waba_id: str = WABA_ID) -> Answer:
        """Send one error that stands beside no message."""
        return self.post(payloads.delivery(payloads.change(number, errors=[payloads.error(code)]), waba_id=waba_id))

    @contextlib.contextmanager
    def flooding(
        self, make: Callable[[], bytes], *, threads: int = 4, pause_seconds: float = 0.0, copies: float = 0.1
    ) -> Iterator[None]:
        """Deliver what `make` returns from several threads; a share of `copies` is sent once more after its 200."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def run(number: int) -> None:
            chance = random.Random(number)
            try:
                while not stop.is_set():
                    body = make()
                    if self.deliver(body, seconds=60.0, stop=stop) and chance.random() < copies:
                        self.deliver(body, seconds=60.0, stop=stop)
                    stop.wait(pause_seconds)
            except BaseException as error:  # noqa: BLE001 (raised again where the flood ends)
                failures.append(error)

        senders = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=exchange.TIMEOUT_SECONDS)
            self._own.connection = connection
            self._connections.append(connection)
        return connection


def _exchange(connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    try:
        connection.request("POST", path, body, headers)
        return exchange.answer(connection.getresponse())
    except (OSError, http.client.HTTPException) as error:
        connection.close()  # the next request opens it anew
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


def delivery(wamid: str) -> bytes:
    """Return a body with one status."""
    return payloads.delivery(payloads.change(NUMBER, statuses=[payloads.status(wamid, "sent", time.time())]))


def blocked(waba_id: str) -> bytes:
    """Return a body that says that an account is blocked."""
    return payloads.delivery(payloads.change(f"9{waba_id}", errors=[payloads.error(368)]), waba_id=waba_id)


def signed(body: bytes, secret: str = APP_SECRET) -> dict[str, str]:
    """Return the headers of a body."""
    return {"Content-Type": "application/json", "X-Hub-Signature-256": signature.sign(body, secret.encode())}


def head(*lines: str, length: int | None = None) -> bytes:
    """Return the head of a request as bytes, unsigned unless a line signs it."""
    declared = [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([f"POST {PATH} HTTP/1.1", "Host: localhost", *lines, *declared, "", ""]).encode()


def line(body: bytes) -> str:
    """Return the header line that signs a body."""
    return f"X-Hub-Signature-256: {signed(body)['X-Hub-Signature-256']}"


def of(sidecar: Sidecar) -> Meta:
    """Return a sender to a sidecar."""
    return Meta(sidecar.webhook_port)


@contextlib.contextmanager
def paused(folder: Path) -> Iterator[tuple[Sidecar, Meta]]:
    """Run a sidecar whose sending is paused, with a sender to it."""
    with Sidecar(folder) as sidecar, of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
        yield sidecar, sender
