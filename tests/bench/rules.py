"""What rules cost: many of them, many groups, their forgetting, and one more; prints a table.

`python -m tests.bench.rules` takes about two minutes and half a gigabyte.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterable

from monitor import codes, engine, rule_files
from monitor.engine import Plan
from monitor.events import MetaError, MetaEvent, Status
from monitor.windows import Windows

NOW = 1_700_000_000.0
EVENTS = 20_000
KEYS = 1_000_000


def plan(text: str) -> Plan:
    """Return the plan of some rules."""
    return engine.plan(rule_files.load([("rules.yml", text.encode())]), codes.catalogue())


def rules(count: int) -> str:
    """Return rules as a large user has them: each for a number and a code, a campaign or a template of its own."""
    lines = ["rules:"]
    for number in range(count):
        code = 131_000 + number % 60
        match = (
            f"{{code: {code}, phone_number_id: '{number}'}}",
            f"{{status: failed, campaign: c{number}}}",
            f"{{field: message_template_status_update, template: t{number}}}",
            f"{{status: failed, phone_number_id: '{number}', code: {{from: 131000, to: 131999}}}}",
        )[number % 4]
        lines.append(
            f"  - {{name: rule_{number}, match: {match}, count: {{at_least: 5, within: 1m}}, actions: [flag]}}"
        )
    return "\n".join(lines)


def failed(number: int, at: float) -> Status:
    """Return a failure of one of a few numbers."""
    wamid = f"wamid.HBgLMTU1NTAwMDAwMDEVAgARGBI5QTNDQTVCM0Q0Q0Q2{number:08d}AA=="
    errors = (MetaError(131_000 + number % 60, "", ""),)
    return Status(
        f"{wamid}|failed|", "100", str(number % 8), at, wamid, "failed", f"{number:024x}", "utility", None, errors, ""
    )


def microseconds(made: Plan, events: Iterable[MetaEvent]) -> float:
    """Return what an event costs at the least of five rounds."""
    told = list(events)
    rounds = []
    for _ in range(5):
        windows = Windows()
        started = time.perf_counter()
        for position, event in enumerate(told):
            engine.evaluate(made, windows, event, position, event.occurred_at)
        rounds.append((time.perf_counter() - started) / len(told) * 1e6)
    return min(rounds)


def resident_megabytes() -> float:
    """Return the memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (a pseudo file)
        return int(file.read().split()[1]) * 4096 / 1e6


def slowest_milliseconds(act: Callable[[int], None], count: int) -> tuple[float, float]:
    """Return the median and the longest of many calls."""
    taken = []
    for number in range(count):
        started = time.perf_counter()
        act(number)
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken), max(taken)


def many_keys() -> tuple[float, float, float]:
    """Return the megabytes of a million live groups, and the longest event while they come and while they go."""
    made = plan(
        "rules: [{name: one, match: {status: failed}, count: {at_least: 3, within: 10m}, by: [recipient], "
        "actions: [flag]}]"
    )
    windows = Windows()
    gc.collect()
    before = resident_megabytes()

    def enter(number: int) -> None:
        at = NOW + number / 1_000
        engine.evaluate(made, windows, failed(number, at), number // 10, at)

    _, entering = slowest_milliseconds(enter, KEYS)
    megabytes = resident_megabytes() - before
    assert len(windows.conditions["one"]) == KEYS

    def later(number: int) -> None:
        at = NOW + 20_000 + number / 10
        engine.evaluate(made, windows, failed(KEYS + number, at), KEYS + number, at)

    _, leaving = slowest_milliseconds(later, 300_000)
    return megabytes, entering, leaving


def main() -> None:
    """Print the table."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)  # as `serve` does
    events = [failed(number, NOW + number / 100) for number in range(EVENTS)]
    ten, thousand = (microseconds(plan(rules(count)), events) for count in (10, 1_000))
    single = "rules: [{name: one, match: {code: 368}, actions: [flag]}]"
    double = single.replace("]}]", "]}, {name: two, match: {code: 131026}, actions: [flag]}]")
    matched = single.replace("{code: 368}", "{status: failed}")
    blank, more, acting = (microseconds(plan(text), events) for text in (single, double, matched))
    megabytes, entering, leaving = many_keys()
    print("| what | measured | goal |")
    print("|---|---|---|")
    print(f"| 1,000 rules against ten | {thousand:.1f} µs against {ten:.1f} µs = {thousand / ten:.2f} × | ≤ 2 × |")
    print(f"| a further single-event rule that does not match | {more - blank:+.2f} µs | ≤ 5 µs |")
    print(f"| one that matches every event | {acting - blank:+.2f} µs | ≤ 5 µs |")
    print(f"| a million live groups | {megabytes:.0f} MB | ≤ 500 MB |")
    print(f"| the longest event while they come | {entering:.1f} ms | |")
    print(f"| the longest event while they are forgotten | {leaving:.1f} ms | ≤ 5 ms |")


if __name__ == "__main__":
    main()
