"""The status page: is sending allowed, and if not, why; live with JavaScript, readable without."""

from collections.abc import Callable

import jinja2
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import __version__
from monitor.web import markup, statics
from monitor.web.answers import Refusal
from monitor.web.board import PARTS, Board
from monitor.web.forms import Forms

RELOAD_SECONDS = 15  # where there is no JavaScript
PAGES_MOST = 1_000  # that are open at once
SEND_SECONDS = 10.0  # a page that takes nothing for so long is let go; it comes back by itself


class StatusPage:
    """The endpoints that show the board."""

    def __init__(self, board: Board, templates: jinja2.Environment, pages: Forms, clock: Callable[[], float]) -> None:
        self._board = board
        self._page = templates.get_template("status.html")
        self._forms = pages
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        guarded = self._forms.guarded
        return [
            Route("/", guarded(self.page), methods=["GET"]),
            Route("/live", guarded(self.live), methods=["GET"]),
            Route("/static/{name}", statics.shipped().file, methods=["GET"]),
        ]

    async def page(self, _: Request) -> Response:
        """Answer how everything stands."""
        board = self._board
        parts = await board.current()
        values = {
            "version": __version__,
            "now": self._clock(),
            "reload_seconds": RELOAD_SECONDS,
            "mark": board.mark,
            "title": parts["verdict"].values["title"],
            "state": parts["verdict"].values["state"],
            "parts": {name: parts[name].html for name in PARTS},
            "is_signed_in": self._forms.sessions.is_needed,
        }
        return markup.answer(self._page, values)

    async def live(self, request: Request) -> Response:
        """Stream the parts that change, from what the page or the stream before it has shown."""
        if self._board.followers >= PAGES_MOST:
            raise Refusal(503, "too_many_pages", f"{PAGES_MOST} pages are open")
        mark = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return EventSourceResponse(self._board.follow(mark), ping=0, send_timeout=SEND_SECONDS)
