"""Signing in to the page with an operator token, and out again."""

import asyncio
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import logs
from monitor.web import forms
from monitor.web.access import LOGIN
from monitor.web.answers import Refusal
from monitor.web.attempts import Attempts
from monitor.web.forms import Forms, fields_of
from monitor.web.sessions import COOKIE, LASTS_SECONDS

REFUSED_SECONDS = 0.5  # a guess costs the guesser more than us
_PLACES = re.compile(r"/(?:(?:pauses|flags|incidents)/[A-Za-z0-9-]+)?")


class Login:
    """The endpoints /login and /logout."""

    def __init__(self, pages: Forms, attempts: Attempts) -> None:
        self._forms = pages
        self._attempts = attempts

    def routes(self) -> list[Route]:
        """Return the routes."""
        guarded = self._forms.guarded
        return [
            Route("/login", guarded(self.ask), methods=["GET"]),
            Route("/login", guarded(self.open), methods=["POST"]),
            Route("/logout", guarded(self.close), methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Show the form, or the page where none is needed.

        A link from another site brings no cookie along, strict as ours is; asked again by ourselves, the browser does.
        """
        sessions, wanted = self._forms.sessions, _wanted(request.query_params.get("next", ""))
        if not sessions.is_needed or sessions.role(request.scope["headers"]) is not None:
            return forms.see(wanted)
        is_led_here = request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
        return self._forms.shown(request, "login.html", {"wanted": wanted, "is_refused": False, "again": is_led_here})

    async def open(self, request: Request) -> Response:
        """Take a token and open a session."""
        fields = await fields_of(request)
        wanted, claimed = _wanted(fields.get("next", "")), fields.get("token", "")
        address = request.client.host if request.client is not None else ""
        session = self._forms.sessions.opened(claimed)
        if session is None:
            if wait_seconds := self._attempts.wait_seconds(address):
                raise Refusal(429, "too_many_tokens", f"Too many different tokens were tried; wait {wait_seconds} s.")
            self._attempts.failed(address, claimed.encode())
            logs.get().warning("sign_in_refused")
            await asyncio.sleep(REFUSED_SECONDS)
            return self._forms.shown(request, "login.html", {"wanted": wanted, "is_refused": True, "again": False}, 403)
        answer = forms.see(wanted)
        self._forms.keep(answer, COOKIE, session, LASTS_SECONDS)
        return answer

    async def close(self, _: Request) -> Response:
        """Take the session from the browser."""
        answer = forms.see(LOGIN)
        self._forms.keep(answer, COOKIE, "", 0)
        return answer


def _wanted(path: str) -> str:
    """Return a page of ours to go to, whatever is asked for."""
    return path if _PLACES.fullmatch(path) else "/"
