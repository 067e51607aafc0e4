"""May we send right now? The answer as the page shows it: one sentence, then each number and lane, then each pause."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from monitor import gate, standing
from monitor.actions import DRILL_ACCOUNT, META, OPERATOR, SCOPES, Pause, is_in_force
from monitor.gate import Ask
from monitor.limits import limit
from monitor.standing import Standing

LANES = (
    ("Replies", Ask(kind="service")),
    ("Utility", Ask(category="utility", kind="template")),
    ("Sign-in codes", Ask(category="authentication", kind="template")),
    ("Marketing", Ask(category="marketing", kind="template")),
)
"""What a number may send, from what is stopped last to what is stopped first."""
FREE, SLOWED, PAUSED = "allowed", "slowed", "paused"
PAUSES_SHOWN = 25
NARROW_SHOWN = 10
RUNBOOKS = "https://github.com/whatsapp-monitor/whatsapp-monitor/blob/main/docs/runbooks/"
_WHAT = {"all": "every number", "waba": "account", "phone_number": "number", "pair": "one number to one person"}


class Cell(msgspec.Struct, frozen=True):
    """What holds for one number in one lane, and the pause that says so."""

    state: str
    pause_id: str = ""


class Row(msgspec.Struct, frozen=True):
    """One number: a cell for each of LANES."""

    phone_number_id: str
    waba_id: str
    cells: tuple[Cell, ...]


class Shown(msgspec.Struct, frozen=True):
    """A pause in force: `effect` tells in words what it lets through, empty where that is nothing."""

    pause: Pause
    what: str
    lanes: str
    effect: str
    runbook: str
    numbers: int
    key: str
    is_drill: bool


class Overview(msgspec.Struct, frozen=True):
    """All that the top of the page tells; it stays as it is until `next_at` unless something changes."""

    state: str
    title: str
    lead: Shown | None
    more: int
    rows: tuple[Row, ...]
    free: tuple[Row, ...]
    pauses: tuple[Shown, ...]
    hidden: int
    narrow: Mapping[str, int]
    quotas: tuple[tuple[str, float], ...]
    next_at: float


def of(
    stands: Standing, wabas: Mapping[str, str], runbooks: Mapping[str, str], quotas: Mapping[str, float], now: float
) -> Overview:
    """Return the overview of what stands.

    `wabas` gives the account of each number, `runbooks` are the rules' own, `quotas` the share of sends that Meta's
    quota leaves room for, of accounts where that is not all.
    """
    wide = [one for one in standing.in_order(stands.wide) if is_in_force(one, now)]
    narrow = [one for one in stands.pauses.values() if one.scope in standing.NARROW and is_in_force(one, now)]
    numbers = {number: waba for number, waba in wabas.items() if DRILL_ACCOUNT not in {number, waba}}
    rows = _rows(wide, numbers, quotas, now)
    held = tuple(row for row in rows if any(cell.state != FREE for cell in row.cells))
    reach = Counter(pause_id for row in rows for pause_id in {cell.pause_id for cell in row.cells} if pause_id)
    wide.sort(key=lambda one: _weight(one, now))
    newest = heapq.nlargest(NARROW_SHOWN, narrow, key=lambda one: one.since)
    shown = tuple(_shown(one, reach, runbooks, now) for one in [*wide[:PAUSES_SHOWN], *newest])
    leading = [one for one in shown if not one.is_drill and one.pause.scope not in standing.NARROW]
    state, title = _headline(leading, held, len(numbers))
    return Overview(
        state=state,
        title=title,
        lead=leading[0] if leading else None,
        more=len(wide) + len(narrow) - bool(leading),
        rows=held,
        free=tuple(row for row in rows if all(cell.state == FREE for cell in row.cells)),
        pauses=shown,
        hidden=len(wide) + len(narrow) - len(shown),
        narrow=Counter(one.scope for one in narrow),
        quotas=tuple(sorted(quotas.items())),
        next_at=min((at for one in (*wide, *narrow) for at in _turns(one) if at > now), default=float("inf")),
    )


def said(overview: Overview, *, is_loaded: bool) -> dict[str, Any]:
    """Return what the head of the page says: nothing that each further signal changes, since it is read aloud."""
    lead = overview.lead
    state, title = (overview.state, overview.title) if is_loaded else (PAUSED, "Not known yet: the monitor is starting")
    told: dict[str, Any] = {"is_loaded": is_loaded, "state": state, "title": title, "lead": None}
    if lead is not None:
        pause = lead.pause
        names = ("id", "since", "until", "until_cleared", "reason", "code")
        told["lead"] = {name: getattr(pause, name) for name in names} | {
            "what": lead.what, "lanes": lead.lanes, "effect": lead.effect, "runbook": lead.runbook, "key": lead.key,
        }  # fmt: skip
    told["quotas"] = len(overview.quotas)
    return {**told, "more": overview.more, "numbers": len(overview.rows) + len(overview.free)}


def paused(overview: Overview) -> dict[str, Any]:
    """Return what is told of the pauses, and of Meta's quotas."""
    names = ("pauses", "hidden", "narrow", "quotas")
    return {name: getattr(overview, name) for name in names}


def what(pause: Pause) -> str:
    """Return in words what a pause is about."""
    named = _WHAT.get(pause.scope, pause.scope)
    if pause.scope in {"all", "pair"}:
        return named
    shown = f"{pause.scope_id[:8]}…" if pause.scope == "recipient" else pause.scope_id
    return f"{named} {shown}{f' ({pause.language})' if pause.language else ''}"


def effect(pause: Pause, now: float) -> str:
    """Return in words what a pause lets through, empty where that is nothing."""
    allowed = limit(pause, now)
    if allowed is None:
        return ""
    if allowed.share is not None:
        return f"{allowed.share:.0%} of all sends may leave"
    slowed = "half open, " if pause.probe is not None else "slowed down to "
    return f"{slowed}{round(allowed.per_second or 0.0, 3):g} a second"


def lanes(pause: Pause) -> str:
    """Return in words which messages a pause stops."""
    return {"marketing": "marketing", "business_initiated": "everything but replies"}.get(pause.lane, "all messages")


def key(pause: Pause) -> str:
    """Return in words whose key holds a pause."""
    return {OPERATOR: "an operator", META: "Meta"}.get(gate.key_of(pause), f"rule {pause.rule}")


def runbook(pause: Pause, runbooks: Mapping[str, str]) -> str:
    """Return the page that says what to do."""
    return runbooks.get(pause.rule) or f"{RUNBOOKS}WhatsAppSendingPaused.md"


def _shown(pause: Pause, reach: Mapping[str, int], runbooks: Mapping[str, str], now: float) -> Shown:
    return Shown(
        pause=pause,
        what=what(pause),
        lanes=lanes(pause),
        effect=effect(pause, now),
        runbook=runbook(pause, runbooks),
        numbers=reach.get(pause.id, 0),
        key=key(pause),
        is_drill=DRILL_ACCOUNT in {pause.scope_id, pause.waba_id},
    )


def _rows(wide: Sequence[Pause], wabas: Mapping[str, str], quotas: Mapping[str, float], now: float) -> list[Row]:
    """Return a row for each number, those first that may not send all; the gate decides each but is asked little."""
    of_all = [one for one in wide if one.scope not in {"waba", "phone_number"}]
    by_id: dict[tuple[str, str], list[Pause]] = {}
    for one in wide:
        if one.scope in {"waba", "phone_number"}:
            by_id.setdefault((one.scope, one.scope_id), []).append(one)
    free = (Cell(FREE),) * len(LANES)
    decided: dict[tuple[str, ...], tuple[Cell, ...]] = {}
    rows = []
    for number, waba_id in sorted(wabas.items(), key=lambda pair: (pair[1], pair[0])):
        found = [*of_all, *by_id.get(("waba", waba_id), ()), *by_id.get(("phone_number", number), ())]
        cells = free
        if found:
            key = (waba_id, *(one.id for one in found))
            cells = decided.get(key) or _cells(found, number, waba_id, now)
            decided[key] = cells
        if (share := quotas.get(waba_id or number)) is not None:
            held = Cell(SLOWED if share else PAUSED)
            cells = tuple(held if cell.state == FREE else cell for cell in cells)
        rows.append(Row(number, waba_id, cells))
    return sorted(rows, key=lambda row: -sum(cell.state != FREE for cell in row.cells))


def _cells(pauses: Iterable[Pause], number: str, waba_id: str, now: float) -> tuple[Cell, ...]:
    cells = []
    for _, lane in LANES:
        ask = msgspec.structs.replace(lane, phone_number_id=number, waba_id=waba_id)
        verdict = gate.decide(pauses, ask, {}, now)
        state = PAUSED if not verdict.allow else SLOWED if verdict.limits else FREE
        cells.append(Cell(state, verdict.pause.id if verdict.pause is not None else ""))
    return tuple(cells)


def _headline(leading: Sequence[Shown], held: Sequence[Row], numbers: int) -> tuple[str, str]:
    """Return the state and the title: how much may not be sent, over all numbers and lanes."""
    stops = [one for one in leading if not one.effect]
    stopped = sum(any(cell.state == PAUSED for cell in row.cells) for row in held)
    if not leading and not held:
        return FREE, "Sending is allowed"
    if not stops and stopped:
        return PAUSED, f"Meta's quota is used up{_of(stopped, numbers)}"
    if not stops:
        return SLOWED, f"Sending is slowed down{_of(len(held), numbers)}"
    of_all = [one for one in stops if one.pause.lane == "all" and one.pause.scope != "category"]
    replies = bool(of_all) or any(row.cells[0].state == PAUSED for row in held)
    others = any(cell.state == PAUSED for row in held for cell in row.cells[1:3])
    subject = "Sending" if replies else "Everything but replies" if others else "Marketing"
    if not replies and any(one.pause.scope == "category" for one in stops):
        subject = "Some sending"
    whom = f" for {stops[0].what}" if numbers and not stopped else _of(stopped, numbers)
    return PAUSED, f"{subject} is paused{whom}"


def _of(count: int, numbers: int) -> str:
    return f" for {count} of {numbers} numbers" if 0 < count < numbers else ""


def _weight(pause: Pause, now: float) -> tuple[bool, bool, int, int, float]:
    """Return what orders pauses: drills last, stops before slowdowns, the widest and the newest first."""
    is_drill = DRILL_ACCOUNT in {pause.scope_id, pause.waba_id}
    lane = ("all", "business_initiated", "marketing").index(pause.lane)
    return is_drill, limit(pause, now) is not None, SCOPES.index(pause.scope), lane, -pause.since


def _turns(pause: Pause) -> Iterable[float]:
    """Yield when a pause ends, or lets more through, by the clock alone."""
    if pause.until is not None:
        yield pause.until
        for step in range(pause.steps):
            yield pause.until - (step + 1) * pause.step_seconds
    if pause.probe is not None:
        yield pause.probe.from_at
        opened_at = pause.probe.from_at + pause.probe.seconds
        yield opened_at
        yield opened_at + pause.probe.step_seconds
