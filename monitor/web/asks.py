"""What operators and workers may ask for over HTTP, read strictly."""

from typing import Annotated, Literal

import msgspec

from monitor import durations
from monitor.actions import LANES, SCOPES
from monitor.probes import Probe

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
ShortText = Annotated[str, msgspec.Meta(max_length=200)]
Duration = Annotated[str, msgspec.Meta(max_length=32, extra_json_schema={"pattern": durations.POSITIVE})]
Rate = Annotated[str, msgspec.Meta(max_length=200, extra_json_schema={"pattern": durations.RATES})]
LEASE_SECONDS = 300.0
_FILLED, _GIVEN = {"minLength": 1}, {"type": "string"}
PLACED_SCOPES = tuple(scope for scope in SCOPES if scope != "pair")  # a pair's id is made of hashes
_WITH_IDS = [scope for scope in PLACED_SCOPES if scope != "all"]
RESUMED = {  # either is said of a pause's end
    "not": {
        "required": ["probe", "reinstate_for"],
        "properties": {"probe": {"not": {"const": False}}, "reinstate_for": _GIVEN},
    }
}
PAUSED = {  # how a pause says what it concerns, and until when
    "not": {"required": ["for", "until"], "properties": {"for": _GIVEN, "until": _GIVEN}},
    "anyOf": [
        {"required": ["scope"], "properties": {"scope": {"const": "all"}, "scope_id": {"const": ""}}},
        {"required": ["scope", "scope_id"], "properties": {"scope": {"enum": _WITH_IDS}, "scope_id": _FILLED}},
        {"required": ["waba_id"], "properties": {"scope": {"enum": ["", "waba"]}, "waba_id": _FILLED}},
        {
            "required": ["phone_number_id"],
            "properties": {"scope": {"enum": ["", "phone_number"]}, "phone_number_id": _FILLED},
        },
    ],
}


class AskError(ValueError):
    """The request can't be taken; the message says what is allowed."""


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every write says who and why."""

    actor: Text
    reason: Text


class PauseAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pause a scope: `for` a duration or `until: resumed` (the default)."""

    actor: Text
    reason: Text
    scope: ShortText = ""
    scope_id: ShortText = ""
    waba_id: ShortText = ""
    phone_number_id: ShortText = ""
    lane: Annotated[ShortText, msgspec.Meta(extra_json_schema={"enum": list(LANES)})] = "all"
    seconds: Duration | None = msgspec.field(default=None, name="for")
    until: Literal["resumed"] | None = None


class ProbeAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How sending comes back by trial: `rate` `for` a while, then 5 % and 25 % of all sends for `ramp` each."""

    rate: Rate = "6/m"
    seconds: Duration = msgspec.field(default="10m", name="for")
    ramp: Duration = "10m"


class ResumeAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Release a pause, at once or by a `probe`; or judge what it found: it stops nothing `reinstate_for` so long."""

    actor: Text
    reason: Text
    probe: ProbeAsk | bool = False
    reinstate_for: Duration | None = None


class ClaimAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take up to `limit` resends for the length of `lease`."""

    actor: Text
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    lease: Duration = "5m"


class ForgetAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Erase a person, named by a phone number or a business-scoped user id."""

    actor: Text
    reason: Text
    recipient: Annotated[str, msgspec.Meta(min_length=3, max_length=200)]


class AckAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Say what became of a resend; `wamid` is the new message's, by which its outcome is joined."""

    actor: Text
    outcome: Literal["sent", "dropped", "released"] = "sent"
    reason: ShortText = ""
    wamid: ShortText = ""


def scope_of(ask: PauseAsk) -> tuple[str, str]:
    """Return scope and id; raise AskError unless they fit together."""
    given = {"waba": ask.waba_id, "phone_number": ask.phone_number_id}
    named = [scope for scope, scope_id in given.items() if scope_id]
    scope = ask.scope or ("phone_number" if ask.phone_number_id else named[0] if named else "")
    scope_id = ask.scope_id or given.get(scope, "")
    if scope not in PLACED_SCOPES:
        raise AskError(f"scope must be one of {', '.join(PLACED_SCOPES)}")
    if (scope == "all") == bool(scope_id):
        raise AskError("scope_id is needed" if scope != "all" else "scope all takes no scope_id")
    if ask.lane not in LANES:
        raise AskError(f"lane must be one of {', '.join(LANES)}")
    return scope, scope_id


def end_of(ask: PauseAsk, now: float) -> float | None:
    """Return when the pause ends, None where someone must resume; raise AskError for both or a bad duration."""
    if ask.seconds is None:
        return None
    if ask.until is not None:
        raise AskError("say either for or until")
    return now + positive(ask.seconds, "for")


def probe_of(ask: ResumeAsk) -> Probe | None:
    """Return the probe that is asked for, to begin when it takes effect; raise AskError for what can't be read."""
    if ask.probe is False:
        return None
    if ask.reinstate_for is not None:
        raise AskError("say either probe or reinstate_for")
    asked = ProbeAsk() if ask.probe is True else ask.probe
    try:
        per_second = durations.rate(asked.rate)
    except ValueError as error:
        raise AskError(f"probe.rate: {error}") from None
    return Probe(0.0, per_second, positive(asked.seconds, "probe.for"), positive(asked.ramp, "probe.ramp"))


def positive(text: str, name: str) -> float:
    """Return a duration's seconds; raise AskError for what is none, or for none at all."""
    try:
        seconds = durations.parse(text)
    except ValueError as error:
        raise AskError(f"{name}: {error}") from None
    if seconds <= 0:
        raise AskError(f"{name}: must be longer than 0s")
    return seconds
