"""Tests of rules: events with their times in; pauses, flags, resends, alerts and gate verdicts expected out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic

from monitor import account_fields, codes, document, effects, engine, gate, rules
from monitor.actions import Moment, alert_ended_at, is_in_force
from monitor.campaigns import NO_NAMING
from monitor.document import Document, Mistaken
from monitor.engine import Windows
from monitor.events import AccountEvent, ErrorReport, InboundMessage, MetaError, MetaEvent, SendFailed, Sent, Status
from monitor.gate import Ask
from monitor.memory import Memory
from monitor.messages import DEFAULT_POLICY
from monitor.rules import RuleSet, Seconds
from monitor.step import Known, Settings, Step

START = 1_700_000_000.0  # the time that `at: 0s` stands for
_Text = Annotated[str, pydantic.BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class EventSpec(_Strict):
    """An event: a `status`, an inbound `message_type`, an account `field` with Meta's `value`, or else a `code`.

    A code comes out of band, or with `origin: send` as the Graph API's answer to a send; the status `accepted` is its
    answer that it took the message.
    """

    at: Seconds
    times: Annotated[int, pydantic.Field(ge=1, le=10_000)] = 1
    every: Seconds = 1.0
    waba_id: _Text = "waba"
    phone_number_id: _Text = "number"
    wamid: str = ""
    recipient: str = "someone"
    category: str = ""
    callback_data: str = ""
    status: str = ""
    message_type: str = ""
    field: str = ""
    event: str = ""
    code: int | None = None
    origin: Literal["webhook", "send"] = "webhook"
    template: str = ""
    campaign: str = ""
    value: dict[str, Any] = {}

    @pydantic.model_validator(mode="after")
    def _is_something(self) -> "EventSpec":
        if not (self.status or self.message_type or self.field or self.code is not None):
            raise ValueError("an event needs a status, a message_type, a field or a code")
        return self


class GateSpec(_Strict):
    """A question to the gate, and its answer."""

    phone_number_id: _Text = ""
    waba_id: _Text = ""
    category: str = ""
    template: str = ""
    recipient: str = ""
    kind: str = ""
    allow: bool
    rule: str | None = None


class PauseSpec(_Strict):
    """A pause in force; what is left out is not compared."""

    rule: str
    scope: str | None = None
    scope_id: _Text | None = None
    lane: str | None = None
    until: Literal["resumed"] | None = None
    ends_in: Seconds | None = None


class FlagSpec(_Strict):
    """An open flag; what is left out is not compared."""

    rule: str
    evidence_count: int | None = None
    sources: dict[str, dict[str, int]] | None = None


class ResendSpec(_Strict):
    """A message on the resend list."""

    wamid: str
    rule: str | None = None


class AlertSpec(_Strict):
    """An active alert."""

    rule: str
    severity: str | None = None


class ExpectSpec(_Strict):
    """What holds at a time, after the events up to then; a list that is given must be the whole list."""

    at: Seconds
    pauses: list[PauseSpec] | None = None
    flags: list[FlagSpec] | None = None
    resends: list[ResendSpec] | None = None
    alerts: list[AlertSpec] | None = None
    gate: list[GateSpec] = []


class TestSpec(_Strict):
    """One test."""

    name: str
    events: Annotated[list[EventSpec], pydantic.Field(min_length=1)]
    expect: Annotated[list[ExpectSpec], pydantic.Field(min_length=1)]


class TestsFile(_Strict):
    """The whole file; `rule_files` are relative to it."""

    rule_files: Annotated[list[str], pydantic.Field(min_length=1)]
    tests: Annotated[list[TestSpec], pydantic.Field(min_length=1)]


class Failure(msgspec.Struct, frozen=True):
    """A test that failed, and each thing that differed."""

    test: str
    differences: tuple[str, ...]


class World:
    """What has happened by a time of a test: the pipeline's memory, and what its store would hold."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.memory = Memory()
        self.windows = Windows()
        self.known = Known({}, {}, {}, set())


def run(file: Path) -> tuple[int, list[Failure]]:
    """Run a tests file; return how many tests it has and those that failed; raise Mistaken where it can't be read."""
    read = document.read(_bytes(file, Document(str(file), None, {}), ()), str(file))
    spec: TestsFile = rules.validated(TestsFile, read)
    texts = [
        (str(file.parent / name), _bytes(file.parent / name, read, ("rule_files", number)))
        for number, name in enumerate(spec.rule_files)
    ]
    rule_set = rules.load(texts)
    failures = [Failure(test.name, found) for test in spec.tests if (found := tuple(_differences(test, rule_set)))]
    return len(spec.tests), failures


def _bytes(file: Path, read: Document, path: tuple[str | int, ...]) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Mistaken([read.mistake(path, f"{file} can't be read: {error.strerror}")]) from None


def _differences(test: TestSpec, rule_set: RuleSet) -> Iterator[str]:
    catalogue = codes.catalogue()
    world = World(Settings(engine.plan(rule_set, catalogue), DEFAULT_POLICY, NO_NAMING, 0.0, False))
    events = sorted(((at, event) for spec in test.events for at, event in _events(spec)), key=lambda pair: pair[0])
    position = 0
    for expect in sorted(test.expect, key=lambda expect: expect.at):
        while position < len(events) and events[position][0] <= START + expect.at:
            at, event = events[position]
            position += 1
            _happen(world, event, position, at)
        for difference in _compared(expect, world, START + expect.at):
            yield f"at {expect.at:g}s: {difference}"


def _happen(world: World, event: MetaEvent, position: int, at: float) -> None:
    step = Step(world.settings, world.windows, world.memory, world.known)
    effects.take(step, event, Moment(position, at, world.settings.plan.hash))
    world.known.messages.update(step.messages)
    world.known.seen.update(step.seen)
    world.memory.standing = step.standing
    world.memory.learn(step.numbers.values(), step.states.values())
    world.memory.conversations.learn(step.conversations)


def _compared(expect: ExpectSpec, world: World, now: float) -> Iterator[str]:
    stands = world.memory.standing
    if expect.pauses is not None:
        in_force = [pause for pause in stands.pauses.values() if is_in_force(pause, now)]
        shown = [
            {**msgspec.to_builtins(pause), "until": "resumed" if pause.until is None else None,
             "ends_in": None if pause.until is None else pause.until - now}
            for pause in in_force
        ]  # fmt: skip
        yield from _lists("pauses", expect.pauses, shown)
    if expect.flags is not None:
        open_flags = [msgspec.to_builtins(flag) for flag in stands.flags.values() if flag.resolved_at is None]
        yield from _lists("flags", expect.flags, open_flags)
    if expect.resends is not None:
        yield from _lists(
            "resends",
            expect.resends,
            [msgspec.to_builtins(one) for one in world.known.resends.values() if one.state == "pending"],
        )
    if expect.alerts is not None:
        active = [
            msgspec.to_builtins(alert)
            for alert in stands.alerts.values()
            if alert_ended_at(alert, stands.pauses, now) is None
        ]
        yield from _lists("alerts", expect.alerts, active)
    for spec in expect.gate:
        asked = {name: value for name, value in spec.model_dump(exclude={"allow", "rule"}).items() if value}
        verdict = gate.decide(stands.pauses.values(), Ask(**asked), world.memory.wabas, now)
        rule = verdict.pause.rule if verdict.pause else None
        if verdict.allow != spec.allow or (spec.rule is not None and rule != spec.rule):
            yield f"gate {asked}: expected allow={spec.allow} rule={spec.rule}, got allow={verdict.allow} rule={rule}"


def _lists(name: str, expected: Any, actual: list[dict[str, Any]]) -> Iterator[str]:
    rest = list(actual)
    for spec in expected:
        wanted = spec.model_dump(exclude_none=True)
        found = next((one for one in rest if all(_equal(one.get(key), value) for key, value in wanted.items())), None)
        if found is None:
            yield f"{name}: expected {wanted}, got {[_brief(one, wanted) for one in actual]}"
        else:
            rest.remove(found)
    if len(expected) < len(actual):
        yield f"{name}: expected {len(expected)}, got {len(actual)}: {[one.get('rule') for one in actual]}"


def _equal(actual: Any, wanted: Any) -> bool:
    return abs(actual - wanted) < 0.001 if isinstance(actual, float) and isinstance(wanted, float) else actual == wanted


def _brief(one: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: one.get(name) for name in wanted}


def _events(spec: EventSpec) -> Iterator[tuple[float, MetaEvent]]:
    for number in range(spec.times):
        at = START + spec.at + number * spec.every
        wamid = spec.wamid or f"wamid.{spec.at:g}.{number}"
        for event in _made(spec, at, wamid):
            yield at, event


def _made(spec: EventSpec, at: float, wamid: str) -> Iterator[MetaEvent]:
    key = f"{spec.wamid or 'event'}|{spec.status}|{at}"
    sender = (spec.waba_id, spec.phone_number_id, at)
    error = MetaError(spec.code, "", "")
    errors = () if spec.code is None else (error,)
    if spec.status == "accepted":
        yield Sent(
            key, *sender, wamid, spec.recipient, spec.category, spec.template, "", spec.campaign, spec.callback_data
        )
    elif spec.status:
        yield Status(key, *sender, wamid, spec.status, spec.recipient, spec.category, None, errors, spec.callback_data)
    elif spec.message_type:
        yield InboundMessage(key, *sender, wamid, spec.message_type, spec.recipient, errors)
    elif spec.field:
        details = account_fields.details(spec.field, {"event": spec.event, **spec.value}, lambda person: person)
        for number, (event, detail) in enumerate(details):
            yield AccountEvent(f"{key}{number}", *sender, spec.field, event, detail)
    elif spec.origin == "send":
        yield SendFailed(key, *sender, spec.recipient, error, spec.category, spec.template, spec.campaign)
    else:
        yield ErrorReport(key, *sender, "messages", error)
