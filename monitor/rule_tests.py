"""Tests of rules: events with their times in; firings, actions, pauses, flags, resends, alerts and verdicts out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic

from monitor import (
    account_fields,
    actions,
    codes,
    document,
    engine,
    firings,
    gate,
    rule_coverage,
    rule_files,
    rules,
    standing,
    validation,
)
from monitor.actions import ACTION_NAMES, Pause, alert_ended_at, is_in_force
from monitor.campaigns import NO_NAMING
from monitor.document import Document, Mistaken
from monitor.duplicates import TRIGGERS
from monitor.engine import Plan
from monitor.events import (
    AccountEvent,
    Anomaly,
    Duplicate,
    ErrorReport,
    InboundMessage,
    MetaError,
    MetaEvent,
    SendFailed,
    Sent,
    Status,
)
from monitor.facts import Fact
from monitor.gate import Ask
from monitor.messages import ANOMALIES, DEFAULT_POLICY
from monitor.rehearsal import Rehearsal
from monitor.rule_coverage import Coverage, Tried
from monitor.rules import ENFORCE, SHADOW
from monitor.step import Settings
from monitor.vocabulary import Rate, Seconds

START = 1_700_000_000.0  # the time that `at: 0s` stands for
_Text = Annotated[str, pydantic.BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class EventSpec(_Strict):
    """An event: a `status`, an inbound `message_type`, an account `field` with Meta's `value`, or else a `code`.

    A code comes out of band, or with `origin: send` as the Graph API's answer to a send; the status `accepted` is its
    answer that it took the message. `at` is when we receive it, `age` how long before that it happened. `{n}` in a
    wamid or recipient is the number of the repetition, from 0.
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
    caller: str = ""
    trigger: Literal[("", *TRIGGERS)] = ""  # type: ignore[valid-type]
    anomaly: Literal[("", *ANOMALIES)] = ""  # type: ignore[valid-type]
    value: dict[str, Any] = {}
    age: Seconds = 0.0

    @pydantic.model_validator(mode="after")
    def _is_something(self) -> "EventSpec":
        is_said = self.status or self.message_type or self.field or self.trigger or self.anomaly
        if not is_said and self.code is None:
            raise ValueError("an event needs a status, a message_type, a field, a code, a trigger or an anomaly")
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
    until: Literal["resumed", "cleared"] | None = None
    ends_in: Seconds | None = None
    rate: Rate | None = None


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


class FiringSpec(_Strict):
    """A rule that is pending or firing; what is left out is not compared."""

    rule: str
    state: Literal["pending", "firing"] | None = None
    group: dict[str, _Text] | None = None
    mode: Literal["enforce", "shadow"] | None = None


class DoneSpec(_Strict):
    """Something that a rule did, or would have done in shadow mode."""

    rule: str
    action: Literal[ACTION_NAMES]  # type: ignore[valid-type]
    mode: Literal["enforce", "shadow"] = "enforce"


class ExpectSpec(_Strict):
    """What holds at a time, after the events up to then; a list that is given must be the whole list.

    `actions` are those since the expectation before, each kind of each rule once.
    """

    at: Seconds
    firings: list[FiringSpec] | None = None
    actions: list[DoneSpec] | None = None
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
    """The whole file; `rule_files` are relative to it; with `enforce` shadows do what they would do."""

    rule_files: Annotated[list[str], pydantic.Field(min_length=1)]
    enforce: bool = False
    tests: Annotated[list[TestSpec], pydantic.Field(min_length=1)]


class Outcome(msgspec.Struct, frozen=True):
    """One test and each thing that differed; none where it passed."""

    test: str
    differences: tuple[str, ...]


class Result(msgspec.Struct, frozen=True):
    """What came of a file of tests, and which of its rules they tried."""

    file: str
    outcomes: tuple[Outcome, ...]
    coverage: Coverage

    @property
    def failures(self) -> list[Outcome]:
        """The tests that failed."""
        return [outcome for outcome in self.outcomes if outcome.differences]


def run(file: Path, only: str = "") -> Result:
    """Run the tests of a file whose names hold `only`; raise Mistaken where it can't be read."""
    read = document.read(_bytes(file, Document(str(file), None, {}), ()), str(file))
    spec: TestsFile = validation.validated(TestsFile, read)
    texts = [
        (str(file.parent / name), _bytes(file.parent / name, read, ("rule_files", number)))
        for number, name in enumerate(spec.rule_files)
    ]
    rule_set = rule_files.load(texts)
    plan = engine.plan(rules.enforced(rule_set) if spec.enforce else rule_set, codes.catalogue())
    tried = rule_coverage.Tried(plan)
    outcomes = tuple(
        Outcome(test.name, tuple(_differences(test, plan, tried))) for test in spec.tests if only in test.name
    )
    return Result(str(file), outcomes, tried.coverage())


def described(result: Result) -> dict[str, Any]:
    """Return a result as plain values."""
    return {"file": result.file, "passed": not result.failures, **msgspec.to_builtins(result)}


def _bytes(file: Path, read: Document, path: tuple[str | int, ...]) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Mistaken([read.mistake(path, f"{file} can't be read: {error.strerror}")]) from None


def _differences(test: TestSpec, plan: Plan, tried: Tried) -> Iterator[str]:
    rehearsal = Rehearsal(Settings(plan, DEFAULT_POLICY, NO_NAMING, 0.0, False))
    events = sorted(
        ((at, event) for place, spec in enumerate(test.events) for at, event in _events(spec, place)),
        key=lambda pair: pair[0],
    )
    position = 0
    for expect in sorted(test.expect, key=lambda expect: expect.at):
        now = START + expect.at
        facts: list[Fact] = []
        while position < len(events) and events[position][0] <= now:
            at, event = events[position]
            position += 1
            facts.extend(rehearsal.take([event], at))
        facts.extend(rehearsal.pass_time(now))
        tried.facts(facts, rehearsal.known.messages)
        for difference in _compared(expect, rehearsal, facts, now):
            yield f"at {expect.at:g}s: {difference}"


def _compared(expect: ExpectSpec, rehearsal: Rehearsal, facts: Sequence[Fact], now: float) -> Iterator[str]:
    stands = rehearsal.memory.standing
    if expect.firings is not None:
        yield from _lists("firings", expect.firings, _live(rehearsal, now))
    if expect.actions is not None:
        yield from _lists("actions", expect.actions, _done(facts))
    if expect.pauses is not None:
        in_force = [pause for pause in stands.pauses.values() if is_in_force(pause, now)]
        shown = [
            {**msgspec.to_builtins(pause), "until": None if pause.until is not None else _open_end(pause),
             "ends_in": None if pause.until is None else pause.until - now, "rate": pause.per_second}
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
            [msgspec.to_builtins(one) for one in rehearsal.known.resends.values() if one.state == "pending"],
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
        ask = Ask(**asked)
        verdict = gate.decide(standing.concerning(stands, gate.narrow(ask)), ask, rehearsal.memory.wabas, now)
        rule = verdict.pause.rule if verdict.pause else None
        if verdict.allow != spec.allow or (spec.rule is not None and rule != spec.rule):
            yield f"gate {asked}: expected allow={spec.allow} rule={spec.rule}, got allow={verdict.allow} rule={rule}"


def _open_end(pause: Pause) -> str:
    return "cleared" if pause.until_cleared else "resumed"


def _live(rehearsal: Rehearsal, now: float) -> list[dict[str, Any]]:
    rules = rehearsal.settings.plan.rules
    return [
        {**msgspec.to_builtins(one), "group": dict(zip(rules[one.rule].by, one.group, strict=True))}
        for one in rehearsal.memory.firings.values()
        if firings.is_live(one, now)
    ]


def _done(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    done = {
        (action.rule, actions.name(action), mode)
        for fact in facts
        for mode, taken in ((ENFORCE, fact.actions), (SHADOW, fact.shadowed))
        for action in taken
    }
    return [{"rule": rule, "action": action, "mode": mode} for rule, action, mode in sorted(done)]


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


def _events(spec: EventSpec, place: int) -> Iterator[tuple[float, MetaEvent]]:
    for number in range(spec.times):
        at = START + spec.at + number * spec.every
        told = spec.model_copy(update={"recipient": spec.recipient.replace("{n}", str(number))})
        wamid = spec.wamid.replace("{n}", str(number)) or f"wamid.{place}.{number}"
        for event in _made(told, at, wamid):
            yield at, event


def _made(spec: EventSpec, at: float, wamid: str) -> Iterator[MetaEvent]:
    key = f"{spec.wamid or 'event'}|{spec.status}|{at}"
    at -= spec.age
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
    elif spec.anomaly:
        yield Anomaly(key, *sender, wamid, spec.recipient, spec.anomaly)
    elif spec.trigger:
        yield Duplicate(
            key, *sender, spec.recipient, spec.trigger, 1.0, False, wamid, spec.category, spec.template, spec.campaign,
            spec.callback_data, "", spec.caller,
        )  # fmt: skip
    elif spec.origin == "send":
        yield SendFailed(key, *sender, spec.recipient, error, spec.category, spec.template, spec.campaign)
    else:
        yield ErrorReport(key, *sender, "messages", error)
