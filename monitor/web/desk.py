"""The desk: a page for each pause, flag and incident, where an operator reads all of it and acts upon it."""

from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import incidents
from monitor.actions import DRILL_ACCOUNT, Incident, Pause, is_in_force, is_reinstated
from monitor.events import FlagResolved, IncidentClosed, PausePlaced, PauseReleased
from monitor.pipeline import Pipeline
from monitor.store.protocol import Store
from monitor.web import forms, verdicts
from monitor.web.acts import Acts
from monitor.web.answers import Refusal
from monitor.web.asks import PLACED_SCOPES, ResumeAsk, ShortText, Signed, Text, positive, probe_of
from monitor.web.forms import Forms

EVIDENCE_SHOWN = 10
EXTENSIONS = (
    ("30m", "30 minutes"),
    ("1h", "1 hour"),
    ("4h", "4 hours"),
    ("1d", "1 day"),
    ("", "ever, until resumed"),
)


class ReleaseForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Release a pause as it was `seen`, at once or by trial."""

    actor: Text
    reason: Text
    seen: ShortText
    how: Literal["at_once", "probe"] = "at_once"


class ExtendForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold on to a pause as it was `seen`: `for` so long from now, or until someone resumes."""

    actor: Text
    reason: Text
    seen: ShortText
    seconds: ShortText = msgspec.field(default="", name="for")


class Desk:
    """The endpoints below /pauses, /flags and /incidents."""

    def __init__(self, store: Store, pipeline: Pipeline, acts: Acts, pages: Forms, clock: Callable[[], float]) -> None:
        self._store = store
        self._pipeline = pipeline
        self._acts = acts
        self._forms = pages
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        guarded = self._forms.guarded
        return [
            Route("/pauses/{pause_id}", guarded(self.pause), methods=["GET"]),
            Route("/pauses/{pause_id}/release", guarded(self.release), methods=["POST"]),
            Route("/pauses/{pause_id}/extend", guarded(self.extend), methods=["POST"]),
            Route("/flags/{flag_id}", guarded(self.flag), methods=["GET"]),
            Route("/flags/{flag_id}/resolve", guarded(self.resolve), methods=["POST"]),
            Route("/incidents/{incident_id}", guarded(self.incident), methods=["GET"]),
            Route("/incidents/{incident_id}/close", guarded(self.close), methods=["POST"]),
        ]

    async def pause(self, request: Request) -> Response:
        """Show a pause: why, since when, until when, on which evidence; and the forms to release or extend it."""
        pause, now = await self._known(request), self._clock()
        is_open = is_in_force(pause, now)
        values = {
            "pause": pause,
            "what": verdicts.what(pause),
            "lanes": verdicts.lanes(pause),
            "effect": verdicts.effect(pause, now) if is_open else "",
            "runbook": verdicts.runbook(pause, self._runbooks()),
            "key": verdicts.key(pause),
            "is_open": is_open,
            "is_reinstated": is_reinstated(pause, now),
            "is_drill": DRILL_ACCOUNT in {pause.scope_id, pause.waba_id},
            "is_extendable": _is_extendable(pause),
            "extensions": EXTENSIONS,
            "evidence": pause.evidence[-EVIDENCE_SHOWN:][::-1],
            "seen": self._acts.mark(pause),
        }
        return self._forms.shown(request, "pause.html", values)

    async def release(self, request: Request) -> Response:
        """Take the form to release a pause; 409 where it is over, or somebody else has acted upon it meanwhile."""
        form = await self._forms.read(request, ReleaseForm)
        pause_id = request.path_params["pause_id"]
        probe = probe_of(ResumeAsk(form.actor, form.reason, probe=form.how == "probe"))
        await self._acts.release(PauseReleased(form.actor, form.reason, pause_id, probe), seen=form.seen)
        return forms.see(f"/pauses/{pause_id}")

    async def extend(self, request: Request) -> Response:
        """Take the form to extend a pause, by one of the operator's own over the same; 409 as for a release."""
        form = await self._forms.read(request, ExtendForm)
        pause, now = await self._known(request), self._clock()
        if not _is_extendable(pause):
            raise Refusal(409, "not_extendable", f"pause {pause.id} has no end that could be put off")
        until = now + positive(form.seconds, "for") if form.seconds else None
        if until is not None and pause.until is not None and until <= pause.until:
            raise Refusal(409, "ends_later_already", f"pause {pause.id} lasts longer than that already")
        act = PausePlaced(form.actor, form.reason, pause.scope, pause.scope_id, pause.lane, until)
        placed = await self._acts.extend(pause.id, act, seen=form.seen)
        return forms.see(f"/pauses/{placed.id}")

    async def flag(self, request: Request) -> Response:
        """Show a flag with its sources and evidence, and the form to resolve it."""
        flag_id = request.path_params["flag_id"]
        flag = await self._store.flag(flag_id)
        if flag is None:
            raise Refusal(404, "unknown_flag", "There is no such flag.")
        values = {
            "flag": flag,
            "runbook": self._runbooks().get(flag.rule, ""),
            "evidence": flag.evidence[-EVIDENCE_SHOWN:][::-1],
        }
        return self._forms.shown(request, "flag.html", values)

    async def resolve(self, request: Request) -> Response:
        """Take the form to resolve a flag; 409 where it is resolved already."""
        form = await self._forms.read(request, Signed)
        flag_id = request.path_params["flag_id"]
        await self._acts.resolve(FlagResolved(form.actor, form.reason, flag_id))
        return forms.see(f"/flags/{flag_id}")

    async def incident(self, request: Request) -> Response:
        """Show an incident with its witnesses, and the form to close it."""
        incident = await self._lasting(request)
        stands = self._pipeline.standing
        values = {
            "incident": incident,
            "ended_at": incidents.ended_at(incident, stands.pauses, self._clock()),
            "pauses": [
                one for one in stands.pauses.values()
                if one.incident_id == incident.id and is_in_force(one, self._clock())
            ],
        }  # fmt: skip
        return self._forms.shown(request, "incident.html", values)

    async def close(self, request: Request) -> Response:
        """Take the form to close an incident; 409 where it is over already."""
        form = await self._forms.read(request, Signed)
        incident_id = request.path_params["incident_id"]
        await self._acts.close(IncidentClosed(form.actor, form.reason, incident_id))
        return forms.see(f"/incidents/{incident_id}")

    def _runbooks(self) -> dict[str, str]:
        return {rule.name: rule.runbook for rule in self._pipeline.plan.rules.values() if rule.runbook}

    async def _known(self, request: Request) -> Pause:
        pause_id = request.path_params["pause_id"]
        pause = await self._store.pause(pause_id)
        if pause is None:
            raise Refusal(404, "unknown_pause", "There is no such pause.")
        return pause

    async def _lasting(self, request: Request) -> Incident:
        incident_id = request.path_params["incident_id"]
        incident = await self._store.incident(incident_id)
        if incident is None:
            raise Refusal(404, "unknown_incident", "There is no such incident.")
        return incident


def _is_extendable(pause: Pause) -> bool:
    """Say whether a pause would end or loosen by itself, and is of a kind that an operator may place."""
    return pause.scope in PLACED_SCOPES and (pause.until is not None or pause.until_cleared)
