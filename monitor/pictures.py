"""A follower's picture: what the sidecar last told over its stream of events, and what may be sent by it."""

from collections.abc import Mapping

import msgspec

from monitor import gate, standing
from monitor.actions import Pause, is_in_force
from monitor.gate import Ask, Verdict
from monitor.standing import Standing

SWEPT_FROM = 100  # pauses: from so many on those that are over are let go
PERSONAL = frozenset({"recipient", "pair"})  # scopes whose ids are made with a key that only the sidecar has
_decode_pause = msgspec.json.Decoder(Pause).decode


class Picture(msgspec.Struct, frozen=True):
    """What the sidecar last told: `ahead_seconds` is how much further its clock is than ours."""

    stands: Standing = Standing()
    wabas: Mapping[str, str] = {}
    ahead_seconds: float = 0.0
    heard_at: float | None = None


class _Snapshot(msgspec.Struct):
    now: float
    pauses: list[Pause]
    numbers: dict[str, str]


class _Heartbeat(msgspec.Struct):
    now: float


class _Number(msgspec.Struct):
    phone_number_id: str
    waba_id: str


def told(picture: Picture, name: str, data: str, at: float) -> Picture:
    """Return the picture after an event of the stream that came at a time of ours."""
    picture = msgspec.structs.replace(picture, heard_at=at)
    match name:
        case "snapshot":
            whole = msgspec.json.decode(data, type=_Snapshot)
            return Picture(standing.of(whole.pauses), whole.numbers, whole.now - at, at)
        case "heartbeat":
            return msgspec.structs.replace(picture, ahead_seconds=msgspec.json.decode(data, type=_Heartbeat).now - at)
        case "pause":
            stands = standing.apply(picture.stands, _decode_pause(data))
            if len(stands.pauses) > SWEPT_FROM:
                stands = standing.forget(stands, at + picture.ahead_seconds)
            return msgspec.structs.replace(picture, stands=stands)
        case "number":
            number = msgspec.json.decode(data, type=_Number)
            wabas = {**picture.wabas, number.phone_number_id: number.waba_id}
            return msgspec.structs.replace(picture, wabas=wabas)
        case _:
            return picture


def decide(picture: Picture, ask: Ask, at: float, stale_seconds: float, on_error: Mapping[str, str]) -> Verdict | None:
    """Return the verdict at a time of ours, None where only the sidecar can tell."""
    if picture.heard_at is None:
        return gate.untold(ask, on_error, "not_connected")
    if at - picture.heard_at > stale_seconds:
        return gate.untold(ask, on_error, "stale")
    now = at + picture.ahead_seconds
    stands = picture.stands
    if ask.recipient and any(scope in PERSONAL for scope, _ in stands.narrow):
        found = (pause for pause in stands.pauses.values() if pause.scope in PERSONAL)
        if any(is_in_force(pause, now) for pause in found):
            return None
    verdict = gate.decide(standing.concerning(stands, gate.narrow(ask)), ask, picture.wabas, now)
    return None if verdict.limits else verdict
