"""The v1 API: what stands and what happened, and the writes of operators and workers."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import gate, incidents, pseudonyms, resends, standing
from monitor.actions import Flag, Incident, Pause, Resend, is_in_force
from monitor.events import FlagResolved, IncidentClosed, PausePlaced, PauseReleased, ResendsClaimed, ResendSettled
from monitor.gate import Ask
from monitor.messages import SETTLED, STATES, Message
from monitor.pipeline import Pipeline
from monitor.store.protocol import Store
from monitor.web import answers
from monitor.web.acts import Acts
from monitor.web.answers import Refusal, guarded
from monitor.web.asks import AckAsk, ClaimAsk, PauseAsk, ResumeAsk, Signed, end_of, positive, probe_of, scope_of
from monitor.web.gate import described_at

SAMPLES_MOST = 5
DUE_MOST = 2_000  # resends looked at for one claim: paused ones are passed over


class Api:
    """The endpoints over one store and pipeline."""

    def __init__(
        self, store: Store, pipeline: Pipeline, acts: Acts, hash_keys: Sequence[bytes], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._acts = acts
        self._hash_keys = hash_keys
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes below /v1, gate excepted."""
        return [
            Route("/v1/pauses", guarded(self.pauses), methods=["GET"]),
            Route("/v1/pauses", guarded(self.place_pause), methods=["POST"]),
            Route("/v1/pauses/{pause_id}/resume", guarded(self.resume), methods=["POST"]),
            Route("/v1/flags", guarded(self.flags), methods=["GET"]),
            Route("/v1/flags/{flag_id}/resolve", guarded(self.resolve_flag), methods=["POST"]),
            Route("/v1/resends", guarded(self.resends), methods=["GET"]),
            Route("/v1/resends/claim", guarded(self.claim_resends), methods=["POST"]),
            Route("/v1/resends/{resend_id}/ack", guarded(self.settle_resend), methods=["POST"]),
            Route("/v1/messages", guarded(self.messages), methods=["GET"]),
            Route("/v1/messages/{wamid:path}", guarded(self.message), methods=["GET"]),
            Route("/v1/incidents", guarded(self.incidents), methods=["GET"]),
            Route("/v1/incidents/{incident_id}/close", guarded(self.close_incident), methods=["POST"]),
            Route("/v1/audit", guarded(self.audit), methods=["GET"]),
        ]

    async def pauses(self, request: Request) -> Response:
        """List pauses, newest first; those in force unless `all=true`."""
        active_at = None if answers.yes_or_no(request, "all") else self._clock()
        page = await self._store.pauses(*answers.paging(request), active_at=active_at)
        if active_at is not None:  # a reinstated finding is still known, and stops nothing
            page = msgspec.structs.replace(page, items=[one for one in page.items if is_in_force(one, active_at)])
        return answers.page("pauses", page, self._shown_pause)

    async def place_pause(self, request: Request) -> Response:
        """Pause a scope; answers once it is in force."""
        ask = await answers.read(request, PauseAsk)
        scope, scope_id = scope_of(ask)
        if scope == "recipient":
            scope_id = pseudonyms.recipient(self._hash_keys[0], scope_id)
        act = PausePlaced(ask.actor, ask.reason, scope, scope_id, ask.lane, end_of(ask, self._clock()))
        return answers.json({"pause": self._shown_pause(await self._acts.place(act))}, 201)

    async def resume(self, request: Request) -> Response:
        """Release a pause, at once or by a probe, or reinstate what it found; 409 where it is over already."""
        ask = await answers.read(request, ResumeAsk)
        probe = probe_of(ask)
        reinstated_seconds = None if ask.reinstate_for is None else positive(ask.reinstate_for, "reinstate_for")
        act = PauseReleased(ask.actor, ask.reason, request.path_params["pause_id"], probe, reinstated_seconds)
        return answers.json({"pause": self._shown_pause(await self._acts.release(act))})

    async def flags(self, request: Request) -> Response:
        """List flags, newest first; `open=true` or `open=false` narrows."""
        is_open = answers.yes_or_no(request, "open")
        return answers.page(
            "flags", await self._store.flags(*answers.paging(request), is_open=is_open), self._shown_flag
        )

    async def resolve_flag(self, request: Request) -> Response:
        """Close a flag; 409 where it is closed already."""
        ask = await answers.read(request, Signed)
        resolved = await self._acts.resolve(FlagResolved(ask.actor, ask.reason, request.path_params["flag_id"]))
        return answers.json({"flag": self._shown_flag(resolved)})

    async def resends(self, request: Request) -> Response:
        """List resends, newest first; `state=pending` and so on narrows."""
        state = answers.one_of(request, "state", resends.STATES)
        return answers.page("resends", await self._store.resends(*answers.paging(request), state=state))

    async def claim_resends(self, request: Request) -> Response:
        """Hand resends that are due to one worker, for the length of a lease; what is paused stays on the list."""
        ask = await answers.read(request, ClaimAsk)
        now = self._clock()
        lease_until = now + positive(ask.lease, "lease")
        due = [resend for resend in await self._store.due_resends(now, DUE_MOST) if self._may_send(resend, now)]
        ids = tuple(resend.id for resend in due[: ask.limit])
        if not ids:
            return answers.json({"resends": []})
        position = await self._acts.enact(ResendsClaimed(ask.actor, ids, lease_until))
        found = await self._store.resends_by_id(ids)
        return answers.json(
            {"resends": [found[one] for one in ids if one in found and found[one].claim == str(position)]}
        )

    async def settle_resend(self, request: Request) -> Response:
        """Take a worker's word on a resend; 409 where it was settled before."""
        ask = await answers.read(request, AckAsk)
        resend_id = request.path_params["resend_id"]
        resend = await self._store.resend(resend_id)
        if resend is None:
            raise Refusal(404, "unknown_resend", f"there is no resend {resend_id}")
        if resend.state not in {"pending", "claimed"}:
            raise Refusal(409, "settled_already", f"resend {resend_id} is {resend.state}")
        await self._acts.enact(ResendSettled(ask.actor, ask.reason, resend_id, ask.outcome, ask.wamid))
        return answers.json({"resend": await self._store.resend(resend_id)})

    async def messages(self, request: Request) -> Response:
        """List messages, newest first; `recipient` takes a number or user id and is hashed here."""
        hashes = pseudonyms.recipients(self._hash_keys, request.query_params.get("recipient", ""))
        people = [one for known in (await self._store.people(hashes)).values() for one in known]
        state = answers.one_of(request, "state", STATES)
        page = await self._store.recent_messages(*answers.paging(request), people=people, state=state)
        return answers.page("messages", page, _shown_message)

    async def message(self, request: Request) -> Response:
        """Return one message and its timeline."""
        wamid = request.path_params["wamid"]
        found = await self._store.messages([wamid])
        if wamid not in found:
            raise Refusal(404, "unknown_message", "no status of this message was received, or it is past retention")
        return answers.json(_shown_message(found[wamid]))

    async def audit(self, request: Request) -> Response:
        """List who did what, newest first."""
        return answers.page("audit", await self._store.audit(*answers.paging(request)))

    async def incidents(self, request: Request) -> Response:
        """List incidents, newest first: who told of each, in which order, and when it ended."""
        return answers.page("incidents", await self._store.incidents(*answers.paging(request)), self._shown_incident)

    async def close_incident(self, request: Request) -> Response:
        """Close an incident; 409 where it is over already."""
        ask = await answers.read(request, Signed)
        act = IncidentClosed(ask.actor, ask.reason, request.path_params["incident_id"])
        return answers.json({"incident": await self._acts.close(act)})

    def _may_send(self, resend: Resend, now: float) -> bool:
        ask = Ask(
            phone_number_id=resend.phone_number_id,
            waba_id=resend.waba_id,
            category=resend.category,
            template=resend.template,
            recipient=resend.recipient,
        )
        pauses = standing.concerning(self._pipeline.standing, gate.narrow(ask))
        return gate.decide(pauses, ask, self._pipeline.memory.wabas, now).allow

    def _shown_incident(self, incident: Incident) -> dict[str, Any]:
        ended_at = incidents.ended_at(incident, self._pipeline.standing.pauses, self._clock())
        return {**msgspec.to_builtins(incident), "first_witness": incident.witnesses[0].origin, "ended_at": ended_at}

    def _shown_flag(self, flag: Flag) -> dict[str, Any]:
        """Return a flag with its sources ranked, and some of its messages with their traces."""
        ranked = [
            {"field": name, "value": value, "count": count, "share": count / sum(values.values())}
            for name, values in flag.sources.items()
            for value, count in values.items()
        ]
        ranked.sort(key=lambda one: -float(one["count"]))  # type: ignore[arg-type]
        samples = [
            {
                "wamid": one.wamid,
                "trace_id": f"{pseudonyms.trace_id(self._hash_keys[0], one.wamid):032x}",
                "at": one.at,
                "caller": one.caller,
                "trigger": one.trigger,
            }
            for one in flag.evidence[-SAMPLES_MOST:]
            if one.wamid
        ]
        return {**msgspec.to_builtins(flag), "ranked": ranked, "samples": samples}

    def _shown_pause(self, pause: Pause) -> dict[str, Any]:
        return described_at(pause, self._clock())


def _shown_message(message: Message) -> dict[str, Any]:
    return {
        "wamid": message.wamid,
        "state": message.state,
        "direction": message.direction,
        "waba_id": message.waba_id,
        "phone_number_id": message.phone_number_id,
        "recipient": message.recipient,
        "category": message.category,
        "template": message.template,
        "campaign": message.campaign,
        "replied_at": message.replied_at,
        "biz_opaque_callback_data": message.callback_data,
        "caller": message.caller,
        "trigger": message.trigger,
        "became": next((step.stamp for step in message.steps if step.status == SETTLED), ""),
        "timeline": [
            {
                "status": step.status,
                "timestamp": step.occurred_at,
                "received_at": step.received_at,
                "codes": step.codes,
            }
            for step in sorted(message.steps, key=lambda step: (step.occurred_at, step.received_at))
        ],
    }
