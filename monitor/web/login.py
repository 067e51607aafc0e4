"""Signing in to the page with a token, or a name and a password, and out again."""

import asyncio
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import logs
from monitor.attempts import Attempts
from monitor.web import forms
from monitor.web.access import LOGIN
from monitor.web.answers import Refusal
from monitor.web.credentials import Credentials
from monitor.web.forms import Forms, fields_of
from monitor.web.sessions import COOKIE, LASTS_SECONDS

REFUSED_SECONDS = 0.5  # a guess costs the guesser more than us
_PLACES = re.compile(r"/(?:(?:pauses|flags|incidents)/[A-Za-z0-9-]+)?")


class Login:
    """The endpoints /login and /logout."""

    def __init__(self, pages: Forms, known: Credentials, attempts: Attempts) -> None:
        self._forms = pages
        self._credentials = known
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
        if not sessions.is_needed or sessions.granted(request.scope["headers"]) is not None:
            return forms.see(wanted)
        is_led_here = request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
        return self._shown(request, wanted, again=is_led_here)

    async def open(self, request: Request) -> Response:
        """Take a token, or a name and a password, and open a session."""
        fields = await fields_of(request)
        wanted, name, claimed = _wanted(fields.get("next", "")), fields.get("name", ""), fields.get("token", "")
        address = request.client.host if request.client is not None else ""
        found = self._credentials.known(name, claimed) if name else self._credentials.of_token(claimed)
        if found is None and (wait_seconds := self._attempts.wait_seconds(address)):
            raise Refusal(429, "too_many_tokens", f"Too many different tokens were tried; wait {wait_seconds} s.")
        guess = f"{name}:{claimed}".encode("utf-8", "surrogateescape")
        if found is None and name:
            if self._credentials.is_busy:
                raise Refusal(429, "too_many_tokens", "Many passwords are being looked at; wait a moment.")
            found = await self._credentials.tried(self._attempts, address, guess, name, claimed)
        if found is None:
            self._attempts.failed(address, guess)
            logs.get().warning("sign_in_refused")
            await asyncio.sleep(REFUSED_SECONDS)
            return self._shown(request, wanted, status=403)
        answer = forms.see(wanted)
        self._forms.keep(answer, COOKIE, self._forms.sessions.opened(found), LASTS_SECONDS)
        return answer

    async def close(self, _: Request) -> Response:
        """Take the session from the browser."""
        answer = forms.see(LOGIN)
        self._forms.keep(answer, COOKIE, "", 0)
        return answer

    def _shown(self, request: Request, wanted: str, *, again: bool = False, status: int = 200) -> Response:
        has_users = any(one.is_user for one in self._credentials.granted())
        values = {"wanted": wanted, "is_refused": status == 403, "again": again, "has_users": has_users}
        return self._forms.shown(request, "login.html", values, status)


def _wanted(path: str) -> str:
    """Return a page of ours to go to, whatever is asked for."""
    return path if _PLACES.fullmatch(path) else "/"
