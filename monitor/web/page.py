"""The status page: is sending allowed, and if not, why; readable without JavaScript."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from monitor import __version__, incidents
from monitor.actions import Pause, is_in_force, limit
from monitor.firings import is_live
from monitor.pipeline import Pipeline
from monitor.standing import NARROW
from monitor.store.protocol import Store
from monitor.web import rules

REFRESH_SECONDS = 5
PAUSES_SHOWN = 100
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class StatusPage:
    """Renders what stands; every text in it is escaped."""

    def __init__(self, store: Store, pipeline: Pipeline, clock: Callable[[], float]) -> None:
        self._store = store
        self._pipeline = pipeline
        self._clock = clock
        templates = jinja2.Environment(
            loader=jinja2.PackageLoader("monitor.web"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        templates.filters["time"] = _time
        templates.filters["limit"] = _limit
        self._page = templates.get_template("status.html")
        self._style = templates.get_template("status.css").render()

    async def page(self, _: Request) -> Response:
        """Answer GET /."""
        now = self._clock()
        standing = self._pipeline.standing
        in_force = [pause for pause in standing.pauses.values() if is_in_force(pause, now)]
        values: dict[str, Any] = {
            "version": __version__,
            "now": now,
            "refresh_seconds": REFRESH_SECONDS,
            "stops": sum(limit(pause, now) is None and pause.scope not in NARROW for pause in in_force),
            "count": len(in_force),
            "pauses": sorted(in_force, key=lambda one: (one.scope in NARROW, limit(one, now) is not None, -one.since))[
                :PAUSES_SHOWN
            ],
            "flags": sorted(
                (flag for flag in standing.flags.values() if flag.resolved_at is None), key=lambda flag: -flag.last_at
            ),
            "incidents": [
                incident
                for incident in sorted(standing.incidents.values(), key=lambda one: -one.opened_at)
                if incidents.ended_at(incident, standing.pauses, now) is None
            ],
            "resends": (await self._store.resends("", 20, state="pending")).items,
            "audit": (await self._store.audit("", 15)).items,
            "backlog": await self._store.backlog(),
            "numbers": sorted(self._pipeline.memory.wabas.items())[:100],
            "rules_hash": self._pipeline.plan.hash,
            "rules": rules.described(
                self._pipeline.plan.rules.values(),
                [one for one in self._pipeline.memory.firings.values() if is_live(one, now)],
            ),
        }
        return HTMLResponse(self._page.render(values), headers=HEADERS)

    async def style(self, _: Request) -> Response:
        """Answer GET /status.css."""
        return Response(self._style, media_type="text/css", headers=HEADERS)


def _limit(pause: Pause, now: float) -> str:
    """Return in words what a pause lets through, empty where that is nothing."""
    allowed = limit(pause, now)
    if allowed is None:
        return ""
    if allowed.share is not None:
        return f"{allowed.share:.0%} of all sends may leave"
    slowed = "half open, " if pause.probe is not None else "slowed down to "
    return f"{slowed}{round(allowed.per_second or 0.0, 3)} a second"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
