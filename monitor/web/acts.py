"""Acts journaled over HTTP: each takes effect through the pipeline like everything else."""

import asyncio
from collections.abc import Callable

import msgspec

from monitor.events import OperatorAct
from monitor.pipeline import Pipeline
from monitor.store.protocol import OPERATOR, Arrival, Store, StoreUnavailableError
from monitor.web.answers import Refusal

EFFECT_SECONDS = 5.0


class Acts:
    """Journals what operators and workers do, and waits until it holds."""

    def __init__(self, store: Store, pipeline: Pipeline, clock: Callable[[], float]) -> None:
        self._store = store
        self._pipeline = pipeline
        self._clock = clock

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
