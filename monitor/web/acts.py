"""Acts journaled over HTTP: each takes effect through the pipeline like everything else."""

import asyncio
import hashlib
from collections.abc import Callable

import msgspec

from monitor import incidents
from monitor.actions import OPERATOR as BY_HAND
from monitor.actions import Flag, Incident, Pause, is_in_force
from monitor.events import FlagResolved, IncidentClosed, OperatorAct, PausePlaced, PauseReleased
from monitor.pipeline import Pipeline
from monitor.store.protocol import OPERATOR, Arrival, Store, StoreUnavailableError
from monitor.web.answers import Refusal

EFFECT_SECONDS = 5.0


class Acts:
    """Journals what operators and workers do, and waits until it holds; looking and acting are one step for each."""

    def __init__(self, store: Store, pipeline: Pipeline, clock: Callable[[], float]) -> None:
        self._store = store
        self._pipeline = pipeline
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def release(self, act: PauseReleased, *, seen: str = "") -> Pause:
        """Release a pause; Refusal 404 where it is unknown, 409 where it is over or not as it was `seen`."""
        async with self._one_at_a_time:
            pause = await self._seen(act.pause_id, seen)
            await self.enact(act)
            return await self._store.pause(act.pause_id) or pause

    async def extend(self, pause_id: str, act: PausePlaced, *, seen: str = "") -> Pause:
        """Hold on to what a pause stops by one of the operator's own, which is returned; Refusal as for a release."""
        async with self._one_at_a_time:
            await self._seen(pause_id, seen)
            return await self._placed(act)

    async def place(self, act: PausePlaced) -> Pause:
        """Pause a scope; return the pause once it is in force."""
        async with self._one_at_a_time:
            return await self._placed(act)

    async def resolve(self, act: FlagResolved) -> Flag:
        """Close a flag; Refusal 404 where it is unknown, 409 where it is closed already."""
        async with self._one_at_a_time:
            flag = await self._store.flag(act.flag_id)
            if flag is None:
                raise Refusal(404, "unknown_flag", f"there is no flag {act.flag_id}")
            if flag.resolved_at is not None:
                raise Refusal(409, "resolved_already", f"flag {act.flag_id} was resolved by {flag.resolved_by}")
            await self.enact(act)
            return await self._store.flag(act.flag_id) or flag

    async def close(self, act: IncidentClosed) -> Incident:
        """Close an incident; Refusal 404 where it is unknown, 409 where it is over already."""
        async with self._one_at_a_time:
            incident = await self._store.incident(act.incident_id)
            if incident is None:
                raise Refusal(404, "unknown_incident", f"there is no incident {act.incident_id}")
            stands = self._pipeline.standing
            lasting = stands.incidents.get(act.incident_id)
            if lasting is None or incidents.ended_at(lasting, stands.pauses, self._clock()) is not None:
                raise Refusal(409, "over_already", f"incident {act.incident_id} is over")
            await self.enact(act)
            return await self._store.incident(act.incident_id) or incident

    def mark(self, pause: Pause) -> str:
        """Return what tells a pause that somebody has acted upon from what it was before.

        Further signals do not change it: during an incident they come all the time. A pause of an operator's own over
        the same scope does.
        """
        beside = sorted(
            one.id
            for one in self._pipeline.standing.pauses.values()
            if (one.rule, one.scope, one.scope_id, one.lane) == (BY_HAND, pause.scope, pause.scope_id, pause.lane)
            and one.id != pause.id
            and is_in_force(one, self._clock())
        )
        opened_at = None if pause.probe is None else pause.probe.from_at
        told = (pause.id, pause.released_at, opened_at, pause.reinstated_until, beside)
        return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()

    async def enact(self, act: OperatorAct) -> int:
        """Journal an act and wait until it has taken effect; return its position."""
        try:
            position = await self._store.append(Arrival(OPERATOR, self._clock(), msgspec.json.encode(act)))
            if position is None:
                raise Refusal(500, "not_journaled", "an operator's act was taken for a copy")
            self._pipeline.wake()
            async with asyncio.timeout(EFFECT_SECONDS):
                await self._pipeline.reach(position)
        except StoreUnavailableError as error:
            raise Refusal(503, "journal_unavailable", str(error)) from None
        except TimeoutError:
            raise Refusal(503, "pipeline_late", "journaled, but not yet in force; see /metrics for the lag") from None
        return position

    async def _placed(self, act: PausePlaced) -> Pause:
        if act.scope == "recipient":
            known = (await self._store.people([act.scope_id]))[act.scope_id]
            act = msgspec.structs.replace(act, aliases=tuple(one for one in known if one != act.scope_id))
        position = await self.enact(act)
        pause = await self._store.pause(f"p{position}-0")
        if pause is None:
            raise Refusal(500, "not_in_force", "the act was journaled and placed no pause")
        return pause

    async def _seen(self, pause_id: str, seen: str) -> Pause:
        """Return a pause in force that is as somebody saw it, or raise Refusal."""
        pause = await self._store.pause(pause_id)
        if pause is None:
            raise Refusal(404, "unknown_pause", f"there is no pause {pause_id}")
        if not is_in_force(pause, self._clock()):
            raise Refusal(409, "not_in_force", f"pause {pause_id} is over")
        if seen and seen != self.mark(pause):
            raise Refusal(409, "changed_since", f"somebody else has acted upon pause {pause_id} since you looked")
        return pause
