"""May we send right now? The answer for one question, from the pauses in force."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import unquote, unquote_plus

import msgspec

from monitor.actions import META, OPERATOR, SCOPES, Pause, ids_of, is_in_force, was_in_force
from monitor.limits import limit
from monitor.messages import Message

LANES_OF = {
    "marketing": frozenset({"all", "business_initiated", "marketing"}),
    "utility": frozenset({"all", "business_initiated"}),
    "authentication": frozenset({"all", "business_initiated"}),
    "service": frozenset({"all"}),
}
"""Which lanes' pauses stop a message of a category."""
REPLIES = frozenset({"free_form", "reply", "service"})  # kinds that go out only inside a customer's open window
EVERY_LANE = frozenset({"all", "business_initiated", "marketing"})
ASK_AGAIN_SECONDS = 60  # Retry-After of a pause without an end
RULES = "rules"
KEYS = (OPERATOR, RULES, META)
"""Who must permit a send, each for itself: a human, the rules, and Meta's own word on what it takes at all."""
_VERSION = r"/v[0-9]{1,3}(?:\.[0-9]{1,3})?"
_SEND = r"/([0-9A-Za-z_-]{1,64})/(?:messages|marketing_messages)/?"
_NODE = r"/[^/?#]+(?:/[^?#]*)?"
_SEND_PATH = re.compile(_VERSION + _SEND, re.IGNORECASE)
_OTHER_PATH = re.compile(_VERSION + _NODE, re.IGNORECASE)
_BARE_SEND_PATH = re.compile(f"(?:{_VERSION})?{_SEND}", re.IGNORECASE)
_BARE_OTHER_PATH = re.compile(f"(?:{_VERSION})?{_NODE}", re.IGNORECASE)
_VERSION_ALONE = re.compile(f"{_VERSION}/?", re.IGNORECASE)  # a batch of calls is posted there
_REWRITING = re.compile(r"(?:^|[&;])[\s\0]*(?:method|batch)\b", re.IGNORECASE)
_DECODED_MOST = 4  # times: whoever decodes once more than that is not Graph


class Ask(msgspec.Struct, frozen=True):
    """What somebody is about to send; what is empty is not known, and the strictest answer for it is given.

    `recipient` is the keyed hash, `formerly` those that the same person had under older keys; `is_send` is False for
    calls that send no message, which no pause concerns.
    """

    phone_number_id: str = ""
    waba_id: str = ""
    category: str = ""
    template: str = ""
    recipient: str = ""
    kind: str = ""
    country: str = ""
    campaign: str = ""
    language: str = ""
    is_send: bool = True
    formerly: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """The answer: `reason` is one snake_case word; `pause` is the one that denies, or that slows down.

    `others` deny too. A `warning` allows, and says what Meta will probably refuse. `limits` are those that let through
    so many messages `per_second` or a `share` of them, which is kept by whoever counts the sends.
    """

    allow: bool
    reason: str
    pause: Pause | None = None
    retry_after_seconds: int | None = None
    warning: str = ""
    per_second: float | None = None
    share: float | None = None
    limits: tuple[Pause, ...] = ()
    others: tuple[Pause, ...] = ()


NOT_PAUSED = Verdict(True, "not_paused")
NOT_A_SEND = Verdict(True, "not_a_send")
WINDOW_CLOSED = Verdict(True, "window_closed", warning="window_closed")
"""Free-form messages go out only within 24 hours of the customer's last one (Meta: 131047)."""


def decide(
    pauses: Iterable[Pause],
    ask: Ask,
    wabas: Mapping[str, str],
    now: float,
    is_window_open: Callable[[str, str], bool] = lambda _number, _person: True,
) -> Verdict:
    """Return the verdict; `wabas` maps phone number ids to the account that each belongs to.

    `is_window_open` says whether a number may answer a person freely.

    Of several pauses the one that ends last is named first, so that Retry-After is not a lie; of those that end alike
    the most specific.
    """
    if not ask.is_send:
        return NOT_A_SEND
    lanes = _lanes(ask)
    waba_id = ask.waba_id or wabas.get(ask.phone_number_id, "")
    concerned = [
        pause
        for pause in pauses
        if pause.lane in lanes and is_in_force(pause, now) and _concerns(pause, ask, waba_id, wabas)
    ]
    if concerned:
        return _held(concerned, now)
    is_free = ask.kind in REPLIES and ask.recipient and ask.phone_number_id
    is_closed = is_free and not any(is_window_open(ask.phone_number_id, one) for one in people_of(ask))
    return WINDOW_CLOSED if is_closed else NOT_PAUSED


def people_of(ask: Ask) -> tuple[str, ...]:
    """Return the hashes of whom an ask is about, the one in force first."""
    return (ask.recipient, *ask.formerly)


def key_of(pause: Pause) -> str:
    """Return whose key a pause turns: a human's, the rules' or Meta's."""
    return pause.rule if pause.rule in {OPERATOR, META} else RULES


def may_release(pause: Pause) -> list[str]:
    """Return who or what ends a pause: operator, time, rule (once its firing is clear) or meta."""
    ends = ["meta"] if pause.rule == META else []
    ends += ["rule"] if pause.until_cleared else []
    ends += ["time"] if pause.until is not None else []
    return [*ends, "operator"]


def from_uri(uri: str, *, is_graph: bool = False) -> Ask:
    """Return what a proxied Graph request is about: `/v23.0/{phone_number_id}/messages` sends, other calls do not.

    A URI that is no Graph path may be anything, so it is answered as a send by an unknown number; so is what somebody
    who decodes it once more could take for a send, and what its query makes another call of. Where it `is_graph` for
    certain, the version may be left out.
    """
    path, _, query = re.sub(r"^https?://[^/]*", "", uri).partition("?")
    if query and is_rewritten(query):
        return Ask()
    path = path.removeprefix("/graph")
    for _ in range(_DECODED_MOST):
        path, before = unquote(path), path
        if path == before:
            break
    else:
        return Ask()
    found = (_BARE_SEND_PATH if is_graph else _SEND_PATH).fullmatch(path)
    if found is not None:
        return Ask(phone_number_id=found[1])
    is_other = (_BARE_OTHER_PATH if is_graph else _OTHER_PATH).fullmatch(path) is not None
    is_odd = "messages" in path.lower() or ".." in path or "//" in path or _VERSION_ALONE.fullmatch(path) is not None
    return Ask(is_send=not is_other or is_odd)


def is_rewritten(query: str) -> bool:
    """Say whether a query makes Graph do something else than method and path say: `method` another one, `batch` many.

    In doubt it does: it is looked at as it is once decoded, names like PHP's.
    """
    return _REWRITING.search(unquote_plus(query)) is not None


def _lanes(ask: Ask) -> frozenset[str]:
    if ask.kind in REPLIES:
        return LANES_OF["service"]
    return LANES_OF.get(ask.category, EVERY_LANE)


def stopped(pauses: Iterable[Pause], message: Message, wabas: Mapping[str, str]) -> Iterator[Pause]:
    """Yield the pauses that were in force when a message was sent, and would have stopped it if they had been asked."""
    ask = asked_for(message)
    for pause in pauses:
        if pause.per_second is None and was_in_force(pause, message.started_at):
            as_it_was = msgspec.structs.replace(pause, released_at=None)
            if not decide([as_it_was], ask, wabas, message.started_at).allow:
                yield pause


def asked_for(message: Message) -> Ask:
    """Return the ask that a message would have been."""
    return Ask(
        phone_number_id=message.phone_number_id,
        waba_id=message.waba_id,
        category=message.category,
        template=message.template,
        recipient=message.recipient,
        campaign=message.campaign,
    )


def untold(ask: Ask, on_error: Mapping[str, str], reason: str) -> Verdict:
    """Return the verdict where nothing can be told; of lanes that the ask may be in the strictest answers."""
    if not ask.is_send:
        return NOT_A_SEND
    lanes = _lanes(ask)
    narrowest = [lane for lane in ("marketing", "business_initiated", "all") if lane in lanes]
    told = EVERY_LANE if lanes == EVERY_LANE and ask.category != "marketing" else narrowest[:1]
    is_allowed = all(on_error.get(lane) == "allow" for lane in told)
    return Verdict(is_allowed, reason, retry_after_seconds=None if is_allowed else 1)


def narrow(ask: Ask) -> list[tuple[str, str]]:
    """Return what an ask says of the scopes whose pauses are found by their id."""
    told = [("template", ask.template), ("campaign", ask.campaign), ("country", ask.country)]
    for one in people_of(ask):
        told += [("recipient", one), ("pair", pair_of(ask.phone_number_id, one))]
    return told


def pair_of(phone_number_id: str, recipient: str) -> str:
    """Return the id of the scope of one number and one person, empty where either is not known."""
    return f"{phone_number_id}|{recipient}" if phone_number_id and recipient else ""


def _held(pauses: list[Pause], now: float) -> Verdict:
    """Return the verdict of pauses that concern an ask: those that stop it, else those that let some through."""
    limits = [(allowed, pause) for pause in pauses if (allowed := limit(pause, now)) is not None]
    if len(limits) == len(pauses):
        allowed, slowest = min(limits, key=lambda one: (one[0].per_second is None, one[0].per_second, one[0].share))
        return Verdict(
            True, allowed.name, slowest, per_second=allowed.per_second, share=allowed.share,
            limits=tuple(pause for _, pause in limits),
        )  # fmt: skip
    limiting = {pause.id for _, pause in limits}
    stopping = [pause for pause in pauses if pause.id not in limiting]
    stopping.sort(key=lambda pause: (_end(pause), SCOPES.index(pause.scope)), reverse=True)
    last = stopping[0]
    seconds = ASK_AGAIN_SECONDS if last.until is None else max(1, math.ceil(_end(last) - now))
    return Verdict(False, f"paused_{last.scope}", last, seconds, others=tuple(stopping[1:]))


def used_up(kind: str, share: float, retry_after_seconds: float) -> Verdict:
    """Return the denial of a send since Meta's own quota, an account's or the app's, is nearly used up."""
    return Verdict(False, f"usage_{kind}", retry_after_seconds=max(1, math.ceil(retry_after_seconds)), share=share)


def throttled(verdict: Verdict, wait_seconds: float) -> Verdict:
    """Return the denial of a send that comes sooner than a throttle's rate lets it."""
    seconds = max(1, math.ceil(wait_seconds))
    return msgspec.structs.replace(verdict, allow=False, retry_after_seconds=seconds)


def _concerns(pause: Pause, ask: Ask, waba_id: str, wabas: Mapping[str, str]) -> bool:
    """Say whether the pause's scope holds the ask; an ask that names no sender is held by any sender's pause.

    A number that was never heard of may be another account's, so no account's pause holds it.
    """
    if pause.waba_id and waba_id and pause.waba_id != waba_id:
        return False
    match pause.scope:
        case "waba":
            return pause.scope_id == waba_id or not (waba_id or ask.phone_number_id)
        case "phone_number":
            if ask.phone_number_id:
                return pause.scope_id == ask.phone_number_id
            return not waba_id or wabas.get(pause.scope_id, waba_id) == waba_id
        case "category":
            return ask.category in {pause.scope_id, ""} and ask.kind not in REPLIES
        case "template":
            is_language = not pause.language or ask.language in {pause.language, ""}
            return pause.scope_id == ask.template and is_language
        case "campaign":
            return pause.scope_id == ask.campaign
        case "country":
            return pause.scope_id == ask.country
        case "recipient":
            return not set(ids_of(pause)).isdisjoint(people_of(ask))
        case "pair":
            return not set(ids_of(pause)).isdisjoint(pair_of(ask.phone_number_id, one) for one in people_of(ask))
        case _:  # all
            return True


def _end(pause: Pause) -> float:
    """Return when a pause stops stopping everything."""
    if pause.probe is not None:
        return pause.probe.from_at
    return math.inf if pause.until is None else pause.until
