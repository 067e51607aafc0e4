"""A sidecar within this process in the middle of an incident, with an hour behind it that it did not live through."""

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from monitor import app as application
from monitor import config, listeners, payloads
from monitor.app import App
from monitor.hour import MINUTES
from monitor.store.protocol import Arrival

ROOT = Path(__file__).parents[2]
ACCOUNTS = ("102290129340398", "107853921467210")
NUMBERS = 200
BLOCKED = 3
SECONDS = 20.0


def number(place: int) -> str:
    """Return the id of a phone number: the first few belong to the account that is blocked."""
    return f"1066{place * 7919 % 10**8:08d}{place:03d}"


@contextmanager
def running(folder: Path, *, is_blocked: bool, numbers: int = NUMBERS, settings: str = "") -> Iterator[str]:
    """Serve the scene on loopback; yield its address."""
    begun: Future[tuple[str, Callable[[], object]]] = Future()

    async def serve() -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        app = _built(folder, settings)
        await app.start()
        await _played(app, is_blocked=is_blocked, numbers=numbers)
        server, bound = listeners.server(app.internal), listeners.bind("127.0.0.1:0")
        serving = asyncio.ensure_future(server.serve(sockets=[bound]))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        begun.set_result((url, lambda: loop.call_soon_threadsafe(stopping.set)))
        await stopping.wait()
        app.stop()
        server.should_exit = True
        await serving
        await app.close()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if not begun.done():
                begun.set_exception(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    url, stop = begun.result(SECONDS)
    try:
        yield url
    finally:
        stop()
        thread.join(SECONDS)


def _built(folder: Path, settings: str) -> App:
    file = folder / "monitor.yml"
    file.write_text(
        "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}\nstore: {url: sqlite:///monitor.db}\n"
        f"rules: {{files: ['{ROOT}/rules/monitor/*.yml']}}\n{settings}",
        encoding="utf-8",
    )
    return application.build(config.load(file), file)


async def _played(app: App, *, is_blocked: bool, numbers: int) -> None:
    chance = random.Random(7)
    now = time.time()

    async def hear(waba_id: str, *changes: dict[str, object]) -> None:
        body = payloads.delivery(*changes, waba_id=waba_id)
        position = await app.store.append(Arrival("webhook", time.time(), body))
        assert position is not None
        await app.pipeline.reach(position)

    for place in range(numbers):
        item = payloads.status(f"wamid.HBgL{place:012d}", "sent", now - 60, recipient=f"1555{place:07d}")
        account = ACCOUNTS[0] if place < BLOCKED else ACCOUNTS[1]
        await hear(account, payloads.change(number(place), statuses=[item]))
    if is_blocked:
        for place in range(7):
            item = payloads.status(
                f"wamid.HBgLDUP{place:09d}", "failed", now, codes=(506,), callback_data="nightly-import"
            )
            await hear(ACCOUNTS[1], payloads.change(number(5), statuses=[item]))
        for place in range(3):
            item = payloads.status(f"wamid.HBgLEXP{place:09d}", "failed", now, codes=(131043,), recipient="15550003333")
            await hear(ACCOUNTS[1], payloads.change(number(6), statuses=[item]))
        for place in range(2):
            item = payloads.status(f"wamid.HBgLPOL{place:09d}", "failed", now, codes=(368,))
            await hear(ACCOUNTS[0], payloads.change(number(0), statuses=[item]))
    _live_through(app, chance, now, is_blocked=is_blocked)


def _live_through(app: App, chance: random.Random, now: float, *, is_blocked: bool) -> None:
    """Let the hour count what it would have heard."""
    app.hour.known_since = now - 7200
    for minute in range(MINUTES):
        at = now - 60 * (MINUTES - 1 - minute)
        is_over = is_blocked and minute > MINUTES - 6
        sent = int((900 + 200 * math.sin(minute / 9) + chance.randint(-60, 60)) * (0.15 if is_over else 1))
        counts = {"sent": sent, "delivered": int(sent * 0.94), "read": int(sent * 0.58), "received": sent // 9}
        counts["failed"] = chance.randint(2, 9) + (120 if is_blocked and MINUTES - 9 < minute <= MINUTES - 5 else 0)
        counts["refused"] = 640 + chance.randint(0, 90) if is_over else 0
        for name, count in counts.items():
            app.hour.count(name, count, at)
