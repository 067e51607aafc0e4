"""`POST /v1/drills`: what a drill came to, kept in the audit and shown as metrics."""

from collections.abc import Callable
from typing import Annotated, Literal, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.events import DrillDone
from monitor.pipeline import Pipeline
from monitor.store.protocol import Store
from monitor.web import answers
from monitor.web.acts import Acts
from monitor.web.asks import Text

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
_Stage = Literal["webhook", "gate", "follower", "alertmanager", "release"]
_STAGES = {"propertyNames": {"enum": list(get_args(_Stage))}}


class DrillAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A drill's result: how many seconds each stage took."""

    actor: Text
    reason: Text
    passed: bool
    seconds: Annotated[dict[_Stage, _Seconds], msgspec.Meta(extra_json_schema=_STAGES)]
    code: int = 368


class Drills:
    """The endpoint."""

    def __init__(self, store: Store, pipeline: Pipeline, clock: Callable[[], float]) -> None:
        self._acts = Acts(store, pipeline, clock)

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/v1/drills", answers.guarded(self.done), methods=["POST"])]

    async def done(self, request: Request) -> Response:
        """Journal a drill's result."""
        ask = await answers.read(request, DrillAsk)
        seconds: dict[str, float] = {str(stage): took for stage, took in ask.seconds.items()}
        position = await self._acts.enact(DrillDone(ask.actor, ask.reason, ask.code, ask.passed, seconds))
        return answers.json({"position": position}, 201)
