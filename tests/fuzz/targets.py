"""What is thrown at: each target is made once, then called with bytes; whatever it raises is a finding."""

import asyncio
import re
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from monitor import app as application
from monitor import (
    channels,
    codes,
    config,
    engine,
    expressions,
    gate,
    observe,
    parse,
    payloads,
    rule_files,
    signature,
    spans,
)
from monitor.app import App
from monitor.attempts import Attempts
from monitor.deadlines import Deadlines
from monitor.document import Mistaken
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.receive import Door, Receiver
from monitor.store.opening import open_store
from monitor.vocabulary import FACTS
from monitor.web import openapi
from monitor.web.gate import traceparent
from tests import setting, world
from tests.asgi import call
from tests.fuzz.connection import Connection

SECRET = b"0123456789abcdef"
RENEWED_AFTER = 2_000  # runs, so that what a target remembers does not make it slow
SLOW_SECONDS = 2.0
Target = Callable[[bytes], None]


class Finding(AssertionError):
    """Something was answered that must not be."""


def signatures() -> Iterator[Target]:
    """Signature headers, one a line; the last one is held against a body."""

    def run(data: bytes) -> None:
        headers = data.split(b"\n")
        fault = signature.form_fault(headers)
        is_signed = bool(signature.verify(b"body", headers[-1], [b"other", SECRET]))
        if is_signed != (
            headers[-1].lower() == signature.sign(b"body", SECRET).encode() and headers[-1][:6] == b"sha256"
        ):
            raise Finding("signed by nobody, or not taken")
        if is_signed and len(headers) == 1 and fault is not None:
            raise Finding(fault)

    yield run


def bodies() -> Iterator[Target]:
    """Webhook bodies: parsed, acted upon and counted in memory."""
    metrics = Metrics(CollectorRegistry(), codes.catalogue())
    made = world.World()
    runs = 0

    def run(data: bytes) -> None:
        nonlocal made, runs
        runs += 1
        if runs % RENEWED_AFTER == 0:
            made = world.World()
        events = parse.delivery(data, world.NOW + runs, world.pseudonym)
        if not events:
            raise Finding("a delivery says nothing")
        made.take(events, world.NOW + runs)
        observe.facts(metrics, None, made.facts, world.NOW)
        made.facts.clear()

    yield run


def webhooks() -> Iterator[Target]:
    """Signed bodies on the whole way: the receiver, a store, the pipeline, the page of metrics."""
    with _directory() as directory, _loop() as do:
        registry = CollectorRegistry()
        metrics = Metrics(registry, codes.catalogue())
        quarantined: list[str] = []
        runs = 0
        store = open_store(directory / "0.db", ["app"])

        def pipeline() -> Pipeline:
            return Pipeline(
                store, setting.settings(), str, observe=lambda facts: observe.facts(metrics, None, facts, world.NOW),
                quarantine=lambda stage, _: quarantined.append(stage),
            )  # fmt: skip

        made = pipeline()
        do(made.load(world.NOW))
        door = Door("/webhook", (SECRET,), (b"token",))

        def run(data: bytes) -> None:
            nonlocal runs, store, made
            runs += 1
            if runs % RENEWED_AFTER == 0:
                do(store.close())
                store = open_store(directory / f"{runs}.db", ["app"])
                made = pipeline()
                do(made.load(world.NOW))
            receiver = Receiver(
                door,
                store,
                clock=lambda: world.NOW + runs,
                count=lambda _: None,
                count_signed=lambda _: None,
                journaled=_nothing,
                is_behind=lambda: False,
                attempts=Attempts(float, lambda _: None),
                deadlines=Deadlines(),
            )
            headers = [("x-hub-signature-256", signature.sign(data, SECRET))]
            answer = do(call(receiver, "POST", "/webhook", headers=headers, body=data))
            if answer.status != 200:
                raise Finding(f"answered {answer.status}")
            while do(made.step()):
                pass
            if quarantined:
                raise Finding(f"quarantined while {quarantined.pop()}")
            if runs % 200 == 1:
                generate_latest(registry)
            if runs % 500 == 0:
                do(store.close())
                store = open_store(store.path, ["app"])
                made = pipeline()
                do(made.load(world.NOW))

        yield run
        do(store.close())


def verifications() -> Iterator[Target]:
    """Query strings of Meta's subscription check."""
    with _loop() as do:
        door = Door("/webhook", (SECRET,), (b"token",))

        def run(data: bytes) -> None:
            sent: list[dict[str, Any]] = []

            async def send(message: Any) -> None:
                sent.append(message)

            receiver: Any = Receiver(
                door,
                _journal(),
                clock=float,
                count=lambda _: None,
                count_signed=lambda _: None,
                journaled=_nothing,
                is_behind=lambda: False,
                attempts=Attempts(float, lambda _: None),
                deadlines=Deadlines(),
            )
            do(receiver.verify(data, "", send))
            if sent[0]["status"] == 200 and b"token" not in urllib.parse.unquote_to_bytes(data.replace(b"+", b" ")):
                raise Finding("a challenge was answered without a token")

        yield run


def configs() -> Iterator[Target]:
    """Configuration files."""
    with _directory() as directory:
        file = directory / "monitor.yml"

        def run(data: bytes) -> None:
            file.write_bytes(data)
            try:
                loaded = config.load(file, {"SECRET": "0123456789abcdef"})
            except Mistaken as error:
                str(error).encode()
                return
            loaded.policy()
            loaded.naming()
            loaded.catalogue()

        yield run


def rules() -> Iterator[Target]:
    """Rules files, put in force and asked about some events."""
    failed = payloads.status("wamid.1", "failed", world.NOW, codes=(131026, 368))
    event = parse.delivery(payloads.delivery(payloads.change("200", statuses=[failed])), world.NOW, world.pseudonym)

    def run(data: bytes) -> None:
        try:
            found = rule_files.read([("rules.yml", data)])
        except Mistaken as error:
            str(error).encode()
            return
        plan = engine.plan(found.rule_set, codes.catalogue())
        made = world.World(_settings(plan))
        made.take(event, world.NOW)
        made.take(event, world.NOW + 1)
        made.rehearsal.pass_time(world.NOW + 86_400)

    yield run


def retry_afters() -> Iterator[Target]:
    """Values of Retry-After."""

    def run(data: bytes) -> None:
        seconds = channels._retry_after(data.decode("latin-1"))
        if seconds is not None and not 1.0 <= seconds <= 3600.0:
            raise Finding(f"{seconds} seconds")

    yield run


def traceparents() -> Iterator[Target]:
    """Values of traceparent."""

    def run(data: bytes) -> None:
        for link in spans.links(traceparent([(b"traceparent", data)])):
            if not link.context.is_valid:
                raise Finding("a link to nowhere")

    yield run


def expression_texts() -> Iterator[Target]:
    """Texts of `when:`, and facts for them."""

    def run(data: bytes) -> None:
        text, _, fact = data.decode("utf-8", "surrogateescape").partition("\n--\n")
        try:
            checked = expressions.check(text, FACTS)
        except ValueError as error:
            str(error)
            return
        holds = expressions.compiled(checked, FACTS)
        holds(dict.fromkeys(FACTS, fact))
        holds({})

    yield run


def uris() -> Iterator[Target]:
    """Request lines that the gate is asked about."""

    def run(data: bytes) -> None:
        uri = data.decode("latin-1")
        ask = gate.from_uri(uri)
        sends = re.fullmatch(r"/v\d\d?\.\d/([0-9]{5,15})/messages", uri)
        if sends is not None and (not ask.is_send or ask.phone_number_id != sends[1]):
            raise Finding("a send is not seen")

    yield run


def connections() -> Iterator[Target]:
    """Raw bytes on the listener's socket, in pieces."""
    with _loop() as do:

        def run(data: bytes) -> None:
            answered = do(Connection(SECRET).feed(data))
            if answered and not re.match(rb"HTTP/1\.1 (100|[2-4]\d\d|503) ", answered):
                raise Finding(repr(answered[:80]))

        yield run


def acts() -> Iterator[Target]:
    """Bodies of the API's writes; the first byte chooses the route, resuming above all."""
    with _directory() as directory, _loop() as do:
        app = _app(directory)
        do(app.start())
        routes = [path for (method, path), _ in sorted(openapi.BODIES.items()) if "drill" not in path]
        pauses: list[str] = []

        def run(data: bytes) -> None:
            number = data[0] if data else 0
            path = "/v1/pauses/{pause_id}/resume" if number >= len(routes) else routes[number]
            if not pauses:
                ask = b'{"actor":"kim","reason":"x","scope":"waba","scope_id":"100"}'
                pauses.append(_post(do, app, "/v1/pauses", ask).json()["pause"]["id"])
            answer = _post(do, app, re.sub(r"\{\w+(:\w+)?\}", pauses[0], path), data[1:])
            if answer.status >= 500:
                raise Finding(f"{path} was answered {answer.status}")
            if path.endswith("resume") and answer.status == 200:
                pauses.clear()
            for shown in ("/v1/pauses", "/v1/audit") if answer.status < 300 else ():
                if do(call(app.internal, "GET", shown)).status != 200:
                    raise Finding(f"{shown} can't be read any more")

        yield run
        do(app.close())


TARGETS: dict[str, Callable[[], Iterator[Target]]] = {
    "signature": signatures, "body": bodies, "webhook": webhooks, "verification": verifications, "config": configs,
    "rules": rules, "retry_after": retry_afters, "traceparent": traceparents, "expression": expression_texts,
    "uri": uris, "http": connections, "acts": acts,
}  # fmt: skip


@contextmanager
def made(name: str) -> Iterator[Target]:
    """Make a target, and let go of it afterwards."""
    with contextmanager(TARGETS[name])() as target:
        yield target


def timely(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return the target with a limit to what a run may take of the processor."""

    def run(data: bytes) -> None:
        started = time.process_time()
        target(data)
        if time.process_time() - started > SLOW_SECONDS:
            raise Finding(f"took {time.process_time() - started:.1f} seconds")

    return run


def _settings(plan: engine.Plan) -> Any:
    """Return settings with other rules."""
    usual = setting.settings()
    return type(usual)(plan, usual.policy, usual.naming, usual.reply_seconds, usual.resend_by_catalogue)


def _app(directory: Path) -> App:
    file = directory / "monitor.yml"
    file.write_text(
        "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}\nstore: {url: sqlite:///monitor.db}\n"
        f"rules: {{files: ['{Path(__file__).parents[2]}/rules/monitor/core.yml']}}\n"
    )
    return application.build(config.load(file), file)


def _post(do: Callable[[Coroutine[Any, Any, Any]], Any], app: App, path: str, body: bytes) -> Any:
    return do(call(app.internal, "POST", path, headers=[("Content-Type", "application/json")], body=body))


def _journal() -> Any:
    return None


def _nothing() -> None:
    pass


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop.run_until_complete
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()
