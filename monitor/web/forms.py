"""The page's forms: read strictly, marked against other sites, and answered as pages."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.store.protocol import StoreUnavailableError
from monitor.web import answers, markup
from monitor.web.answers import Endpoint, Refusal
from monitor.web.asks import AskError
from monitor.web.sessions import FORM_COOKIE, Sessions

FIELDS_MOST = 20
MARK = "mark"
_KIND = "application/x-www-form-urlencoded"
_TITLES = {
    400: "That could not be read",
    403: "That form is not ours",
    404: "There is no such thing",
    409: "It is no longer as you saw it",
    422: "Something is missing",
    503: "The journal does not answer",
}
_T = TypeVar("_T")


class Forms:
    """Shows and reads forms for the browsers of one set of sessions."""

    def __init__(
        self,
        templates: jinja2.Environment,
        sessions: Sessions,
        clock: Callable[[], float],
        *,
        is_secure: Callable[[], bool],
    ) -> None:
        self._templates = templates
        self.sessions = sessions
        self._clock = clock
        self._is_secure = is_secure

    def shown(self, request: Request, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """Answer a page, whose forms are bound to the browser that asked for it."""
        nonce = self.sessions.nonce(request.scope["headers"])
        more = {
            "now": self._clock(),
            "mark": self.sessions.mark(nonce),
            "is_signed_in": self.sessions.is_needed,
            "me": request.scope.get("actor", ""),
        }
        answer = markup.answer(self._templates.get_template(name), {**more, **values}, status)
        self.keep(answer, FORM_COOKIE, nonce, None)
        return answer

    def keep(self, answer: Response, name: str, value: str, seconds: int | None) -> None:
        """Give the browser a cookie that no script reads and no other site makes it send."""
        answer.set_cookie(
            name, value, max_age=seconds, path="/", httponly=True, samesite="strict", secure=self._is_secure()
        )

    async def read(self, request: Request, kind: type[_T]) -> _T:
        """Return a form of ours as a record; raise Refusal for another site's and for what is wrong."""
        fields = await fields_of(request)
        if not self.sessions.is_marked(request.scope["headers"], fields.pop(MARK, "")):
            raise Refusal(403, "unmarked", "Cookies are needed here. Open the page anew, and send the form from there.")
        try:
            return msgspec.convert(answers.signed(fields, request.scope.get("actor", ""), kind), kind)
        except msgspec.ValidationError as error:
            raise AskError(str(error)) from None

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with its refusals answered as a page that says what is wrong."""

        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refusal as refusal:
                return self.told(request, refusal.status, refusal.message)
            except AskError as error:
                return self.told(request, 422, str(error))
            except StoreUnavailableError as error:
                return self.told(request, 503, str(error))

        return answered

    def told(self, request: Request, status: int, message: str) -> Response:
        """Answer a refusal; the way back leads to what was acted upon, as it is now."""
        kind, _, rest = request.url.path.strip("/").partition("/")
        thing = rest.partition("/")[0]
        back = f"/{kind}/{thing}" if kind in {"pauses", "flags", "incidents"} and thing and status != 404 else "/"
        values = {"title": _TITLES.get(status, "That did not work"), "message": message, "back": back}
        return self.shown(request, "told.html", values, status)


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise Refusal for what is none. A field that was left empty is left out."""
    body = await answers.body_of(request, _KIND, "no_form")
    try:
        pairs = parse_qsl(body.decode("ascii"), max_num_fields=FIELDS_MOST, errors="replace")
    except ValueError as error:
        raise Refusal(400, "unreadable", str(error)) from None
    return {name: value.strip() for name, value in pairs if value.strip()}


def see(path: str) -> Response:
    """Send the browser on to a page of ours, which it asks for with GET."""
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})
