"""The running parts: what a reload may cost whoever asks the gate meanwhile."""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor import app as application
from monitor import config
from monitor.app import App
from monitor.cli import serve

HELD_MOST_SECONDS = 0.05
RULES = 2000
RULE = (
    "  - name: rule_{0}\n    summary: {1}\n    match: {{code: {{from: {0}, to: {2}}}, category: marketing}}\n"
    "    max_age: {3}h\n    actions: [{{pause: {{scope: phone_number, for: 1h}}}}, alert]\n"
)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = tmp_path / "monitor.yml"
    (tmp_path / "rules.yml").write_text("rules: []")
    file.write_text(
        "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}\n"
        "store: {url: sqlite:///monitor.db}\nrules: {files: [rules.yml]}\n"
    )
    built = application.build(config.load(file), file)
    await built.start()
    yield built
    await built.close()


@contextlib.asynccontextmanager
async def holds() -> AsyncIterator[list[float]]:
    """Note for how long nothing else ran on the loop, in seconds of the processor: others' share of it is not ours."""
    found: list[float] = []
    usual, thresholds = sys.getswitchinterval(), gc.get_threshold()

    async def beat() -> None:
        at, spent = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now, used = time.perf_counter(), time.process_time()
            found.append(min(now - at, used - spent))
            at, spent = now, used

    sys.setswitchinterval(serve.SWITCH_SECONDS)  # as `serve` does, in a process that holds no tests
    gc.collect()
    gc.freeze()
    gc.set_threshold(*serve.GC_THRESHOLDS)
    beating = asyncio.create_task(beat())
    try:
        yield found
    finally:
        beating.cancel()
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(usual)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_thousand_rules_are_taken_up_without_holding_the_loop(app: App, tmp_path: Path) -> None:
    rules = "".join(RULE.format(number, "x" * 80, number + 5, number % 9 + 1) for number in range(RULES))
    (tmp_path / "rules.yml").write_text(f"rules:\n{rules}")

    async with holds() as found:
        mistakes = await app.reload()

    assert mistakes == ()
    assert len(app.pipeline.plan.rules) == RULES
    assert len(found) > 100
    print(f"\nheld for {max(found) * 1000:.0f} ms at the most")  # noqa: T201 (the figure)
    assert max(found) < HELD_MOST_SECONDS


async def test_a_loop_that_is_held_is_seen() -> None:
    """The other arm: what one step of the loop takes of the processor is seen."""
    async with holds() as found:
        await asyncio.sleep(0.01)
        ends_at = time.process_time() + 2 * HELD_MOST_SECONDS
        while time.process_time() < ends_at:
            pass
        await asyncio.sleep(0.01)

    assert max(found) > HELD_MOST_SECONDS
