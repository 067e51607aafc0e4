"""Signing in to the status page: a session proves a token, ends with it, and writes only by the page's forms."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from monitor import app as application
from monitor import config
from monitor.app import App
from monitor.roles import Role, granted
from monitor.web import login
from monitor.web.sessions import COOKIE, LASTS_SECONDS, Sessions, cookies
from tests.asgi import Answer, call
from tests.test_web import JSON, configured
from tests.test_web_desk import FORM

TOKEN = "let-me-in"
HTML = ("Accept", "text/html,*/*")


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setattr(login, "REFUSED_SECONDS", 0.0)
    file = configured(tmp_path, f"web: {{operator_tokens: [{TOKEN}]}}\nalerts: {{external_url: 'https://m.example'}}\n")
    built = application.build(config.load(file), file)
    await built.start()
    yield built
    await built.close()


async def sign_in(app: App, token: str, wanted: str = "/") -> Answer:
    body = urlencode({"token": token, "next": wanted}).encode()
    return await call(app.internal, "POST", "/login", headers=[FORM, ("Sec-Fetch-Site", "same-origin")], body=body)


def cookie(answer: Answer) -> tuple[str, str]:
    return ("Cookie", answer.headers["set-cookie"].partition(";")[0])


async def status(app: App, method: str, path: str, *headers: tuple[str, str], body: bytes = b"") -> int:
    return (await call(app.internal, method, path, headers=list(headers), body=body)).status


async def test_a_browser_is_led_to_the_form_and_then_to_the_page_that_it_wanted(app: App) -> None:
    led = await call(app.internal, "GET", "/pauses/p1-0", headers=[HTML])
    form = await call(app.internal, "GET", led.headers["location"], headers=[HTML])
    signed_in = await sign_in(app, TOKEN, "/pauses/p1-0")

    assert (led.status, led.headers["location"]) == (303, "/login?next=/pauses/p1-0")
    assert b'name="next" value="/pauses/p1-0"' in form.body
    assert (signed_in.status, signed_in.headers["location"]) == (303, "/pauses/p1-0")
    assert await status(app, "GET", "/", cookie(signed_in)) == 200


async def test_the_session_s_cookie_is_out_of_reach_of_scripts_other_sites_and_plain_http(app: App) -> None:
    told = (await sign_in(app, TOKEN)).headers["set-cookie"].lower()

    assert all(word in told for word in ("httponly", "samesite=strict", "secure", "path=/", "max-age=43200"))
    assert TOKEN not in told


@pytest.mark.parametrize("token", ["", "wrong", "let-me-i", "é", "let-me-in let-me-in"])
async def test_a_wrong_token_opens_nothing(app: App, token: str) -> None:
    answer = await sign_in(app, token)

    assert answer.status == 403
    assert COOKIE not in answer.headers.get("set-cookie", "")


async def test_a_session_reads_everything_and_writes_only_by_the_page_s_forms(app: App) -> None:
    session = cookie(await sign_in(app, TOKEN))
    ask = json.dumps({"scope": "all", "actor": "ann", "reason": "x"}).encode()

    assert await status(app, "GET", "/v1/pauses", session) == 200
    assert await status(app, "GET", "/metrics", session) == 200
    assert await status(app, "POST", "/v1/pauses", session, *JSON, body=ask) == 401
    assert await status(app, "POST", "/-/reload", session) == 401
    assert await status(app, "POST", "/pauses/p1-0/release", session, FORM) == 403
    assert await status(app, "POST", "/search", session, FORM, body=b"wanted=wamid.1") == 200
    assert await status(app, "POST", "/search", session, FORM, ("Sec-Fetch-Site", "cross-site")) == 403


async def test_without_a_session_only_the_form_and_its_styles_are_open(app: App) -> None:
    assert await status(app, "GET", "/login") == 200
    assert await status(app, "GET", "/static/page.css") == 200
    assert await status(app, "GET", "/static/../v1/pauses") == 404
    for path in ("/", "/live", "/pauses/p1-0", "/v1/pauses", "/metrics"):
        assert await status(app, "GET", path) == 401
    assert await status(app, "POST", "/search", FORM, HTML, body=b"wanted=wamid.1") == 303


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/\\evil", "/logout", "/v1/pauses", "/pauses/p1-0/release"]
)
async def test_nobody_is_led_astray_by_signing_in(app: App, wanted: str) -> None:
    assert (await sign_in(app, TOKEN, wanted)).headers["location"] == "/"


async def test_a_link_from_elsewhere_makes_the_browser_ask_once_more_by_itself(app: App) -> None:
    session = cookie(await sign_in(app, TOKEN))
    path = "/login?next=/pauses/p1-0"

    led = await call(app.internal, "GET", path, headers=[HTML, ("Sec-Fetch-Site", "cross-site")])
    again = await call(app.internal, "GET", path, headers=[HTML, ("Sec-Fetch-Site", "same-origin")])
    known = await call(app.internal, "GET", path, headers=[HTML, ("Sec-Fetch-Site", "same-origin"), session])

    assert b'http-equiv="refresh"' in led.body
    assert b'http-equiv="refresh"' not in again.body
    assert (known.status, known.headers["location"]) == (303, "/pauses/p1-0")


async def test_signing_out_takes_the_session_from_the_browser(app: App) -> None:
    session = cookie(await sign_in(app, TOKEN))

    answer = await call(app.internal, "POST", "/logout", headers=[session, ("Sec-Fetch-Site", "same-origin")])

    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert f'{COOKIE}="";' in answer.headers["set-cookie"]
    assert "max-age=0" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("value", ["\\" * 31_000, ";" * 31_000, "a=b; " * 6_000, '\\"' * 15_000])
def test_a_cookie_that_is_odd_on_purpose_holds_nobody_up(value: str) -> None:
    """http.cookies took more than a second over each of the first ones, before anybody was asked who they are."""
    began_at = time.perf_counter()

    found = cookies([(b"cookie", f'other="{value}"; {COOKIE}=a=b'.encode()), (b"cookie", b"other=c")])

    assert found == {COOKIE: "a=b"}
    assert time.perf_counter() - began_at < 0.2


def headers_of(session: str) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", f"{COOKIE}={session}".encode())]


def test_a_session_ends_after_its_time_with_its_token_and_by_any_change() -> None:
    now, tokens = [1_000.0], [granted("one", Role.VIEWER), granted("two", Role.OPERATOR)]
    sessions = Sessions(b"k" * 32, lambda: tokens, lambda: now[0])
    session = sessions.opened(tokens[1])
    assert sessions.granted(headers_of(session)) == tokens[1]

    ends_at, nonce, signed = session.split(".")
    for forged in (
        f"{int(ends_at) + 1}.{nonce}.{signed}",
        f"{ends_at}.{nonce}.",
        "",
        "..",
        "é.é.é",
        f"x.{nonce}.{signed}",
    ):
        assert sessions.granted([(b"cookie", f"{COOKIE}={forged}".encode("latin-1"))]) is None
    assert Sessions(b"other" * 8, lambda: tokens, lambda: now[0]).granted(headers_of(session)) is None
    del tokens[1]
    assert sessions.granted(headers_of(session)) is None
    tokens.append(granted("two", Role.OPERATOR))
    now[0] += LASTS_SECONDS
    assert sessions.granted(headers_of(session)) is None
