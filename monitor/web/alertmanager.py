"""`POST /v1/alertmanager`: a Prometheus rule pauses or resumes through its annotations, told by Alertmanager's webhook.

An alert with the annotation `whatsapp_pause_scope` places a pause when it fires and releases it when it is over; one
with `whatsapp_resume_scope` releases what rules have paused there. What a human or Meta has paused it never touches.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import gate
from monitor.actions import Pause, is_in_force
from monitor.events import PausePlaced, PauseReleased
from monitor.pipeline import Pipeline
from monitor.standing import in_order
from monitor.store.protocol import Store
from monitor.web import answers
from monitor.web.acts import Acts
from monitor.web.answers import Refusal
from monitor.web.asks import AskError, PauseAsk, end_of, scope_of

ACTOR = "alertmanager"
ALERTS_MOST = 1_000
BODY_BYTES_MOST = 4 * 1024 * 1024  # a thousand alerts with their annotations
REASON_MOST = 300
_PAUSE, _RESUME = "whatsapp_pause_", "whatsapp_resume_"
_Texts = dict[str, str]


class Told(msgspec.Struct, frozen=True):
    """One alert of Alertmanager's webhook."""

    status: str
    labels: _Texts = {}
    annotations: _Texts = {}
    fingerprint: str = ""


class Notification(msgspec.Struct, frozen=True):
    """Alertmanager's webhook, version 4; what is not needed is not read."""

    alerts: Annotated[list[Told], msgspec.Meta(max_length=ALERTS_MOST)]


class Alertmanager:
    """The endpoint; `is_guarded` says whether only those who are known can reach it."""

    def __init__(
        self, store: Store, pipeline: Pipeline, clock: Callable[[], float], is_guarded: Callable[[], bool]
    ) -> None:
        self._pipeline = pipeline
        self._acts = Acts(store, pipeline, clock)
        self._clock = clock
        self._is_guarded = is_guarded

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/v1/alertmanager", answers.guarded(self.notified), methods=["POST"])]

    async def notified(self, request: Request) -> Response:
        """Do what the alerts' annotations say; 422 names those that can't be read, and the others are done."""
        if not self._is_guarded():
            raise Refusal(403, "not_guarded", "set web.operator_tokens: an unknown caller may not pause or resume")
        told = await answers.read(request, Notification, BODY_BYTES_MOST)
        done: dict[str, list[str]] = {"paused": [], "resumed": []}
        mistakes: list[str] = []
        for alert in told.alerts:
            name = alert.labels.get("alertname", "an alert")
            try:
                await self._take(alert, name, done)
            except AskError as error:
                mistakes.append(f"{name}: {error}")
        if mistakes:
            return answers.json({**done, "error": "invalid", "message": "; ".join(mistakes)}, 422)
        return answers.json(done)

    async def _take(self, alert: Told, name: str, done: dict[str, list[str]]) -> None:
        actor, now = f"{ACTOR}:{alert.fingerprint or _fingerprint(alert)}", self._clock()
        reason = f"{name}: {alert.annotations.get('summary', alert.status)}"[:REASON_MOST]
        own = [pause for pause in self._in_force(now) if pause.actor == actor]
        if alert.status != "firing":
            done["resumed"] += [await self._release(pause, actor, f"{name} is resolved") for pause in own]
            return
        if f"{_PAUSE}scope" in alert.annotations and not own:
            ask = _asked(alert, _PAUSE, actor, reason)
            scope, scope_id = scope_of(ask)
            position = await self._acts.enact(PausePlaced(actor, reason, scope, scope_id, ask.lane, end_of(ask, now)))
            done["paused"].append(f"p{position}-0")
        if f"{_RESUME}scope" in alert.annotations:
            ask = _asked(alert, _RESUME, actor, reason)
            here = scope_of(ask)
            meant = [one for one in self._in_force(now) if (one.scope, one.scope_id) == here and _is_ours(one)]
            done["resumed"] += [await self._release(pause, actor, reason) for pause in meant]

    async def _release(self, pause: Pause, actor: str, reason: str) -> str:
        await self._acts.enact(PauseReleased(actor, reason, pause.id))
        return pause.id

    def _in_force(self, now: float) -> Iterator[Pause]:
        return (pause for pause in in_order(self._pipeline.standing.pauses) if is_in_force(pause, now))


def _asked(alert: Told, prefix: str, actor: str, reason: str) -> PauseAsk:
    """Read a pause off the annotations: scope, id, lane and for."""
    given: dict[str, Any] = {
        name.removeprefix(prefix): text for name, text in alert.annotations.items() if name.startswith(prefix)
    }
    if unknown := sorted(set(given) - {"scope", "id", "lane", "for"}):
        raise AskError(f"{prefix}{unknown[0]}: not among scope, id, lane and for")
    if given["scope"] in {"recipient", "pair"}:
        raise AskError(f"{prefix}scope: a single person is nothing that Prometheus knows")
    scope_id, lane = given.get("id", ""), given.get("lane", "all")
    return PauseAsk(actor, reason, given["scope"], scope_id, lane=lane, seconds=given.get("for"))


def _is_ours(pause: Pause) -> bool:
    """Say whether a rule, here or in Prometheus, has placed the pause."""
    return gate.key_of(pause) == gate.RULES or pause.actor.startswith(f"{ACTOR}:")


def _fingerprint(alert: Told) -> str:
    return hashlib.blake2b(repr(sorted(alert.labels.items())).encode(), digest_size=8).hexdigest()
