"""Who may do what: viewers read, operators act, admins reload and erase; guessing is slowed down."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor import app as application
from monitor import config
from monitor.app import App
from monitor.attempts import ADDRESSES_MOST, DIFFERENT_MOST, WINDOW_SECONDS, Attempts
from monitor.roles import Role, needed
from tests.asgi import Answer, call
from tests.test_web import configured

TOKENS = {role: f"token-of-the-{role.name.lower()}-0123456789" for role in Role}
WEB = "web:\n" + "".join(f"  {role.name.lower()}_tokens: [{token}]\n" for role, token in TOKENS.items())
PAUSE = {"scope": "all", "reason": "review", "actor": "ann"}
FORGET = {"recipient": "15550000001", "reason": "asked to", "actor": "ann"}
ASKED = [
    ("GET", "/v1/pauses", None, Role.VIEWER), ("GET", "/v1/gate/200", None, Role.VIEWER),
    ("GET", "/metrics", None, Role.VIEWER), ("GET", "/", None, Role.VIEWER),
    ("POST", "/v1/pauses", PAUSE, Role.OPERATOR), ("POST", "/v1/outbox/retry", PAUSE, Role.OPERATOR),
    ("POST", "/v1/sends", {}, Role.OPERATOR), ("POST", "/v1/drills", {}, Role.OPERATOR),
    ("POST", "/-/reload", {}, Role.ADMIN), ("POST", "/v1/people/forget", FORGET, Role.ADMIN),
]  # fmt: skip


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = configured(tmp_path, WEB)
    made = application.build(config.load(file), file)
    await made.start()
    yield made
    await made.close()


async def ask(app: App, method: str, path: str, token: str, body: object = None) -> Answer:
    headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")]
    return await call(app.internal, method, path, headers=headers, body=json.dumps(body or {}).encode())


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(("method", "path", "body", "least"), ASKED)
async def test_a_role_may_do_what_it_may_and_nothing_else(
    app: App, role: Role, method: str, path: str, body: object, least: Role
) -> None:
    answer = await ask(app, method, path, TOKENS[role], body)

    assert (answer.status == 403 and answer.json()["error"] == "forbidden") == (role < least)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0", "\x7f"])
@pytest.mark.parametrize(("method", "path", "body", "least"), [one for one in ASKED if one[3] is not Role.VIEWER])
async def test_no_path_with_a_control_character_is_taken_for_another_one(
    app: App, end: str, method: str, path: str, body: object, least: Role
) -> None:
    """`$` matches before a last line feed: an operator reloaded and erased by `/-/reload%0A`."""
    answers = [await ask(app, method, f"{path}{end}", TOKENS[role], body) for role in Role]

    assert {answer.status for answer in answers} == {404}


async def test_a_viewer_who_is_signed_in_sees_the_page_and_can_not_release(app: App) -> None:
    placed = (await ask(app, "POST", "/v1/pauses", TOKENS[Role.OPERATOR], PAUSE)).json()["pause"]["id"]
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    signed_in = await call(app.internal, "POST", "/login", headers=form, body=f"token={TOKENS[Role.VIEWER]}".encode())
    cookie = [("Cookie", signed_in.headers["set-cookie"].partition(";")[0])]

    seen = await call(app.internal, "GET", f"/pauses/{placed}", headers=cookie)
    released = await call(
        app.internal, "POST", f"/pauses/{placed}/release", headers=[*cookie, *form], body=b"actor=a&reason=b"
    )

    assert (signed_in.status, seen.status, released.status) == (303, 200, 403)


def test_operators_do_everything_where_nobody_is_an_admin(tmp_path: Path) -> None:
    loaded = config.load(configured(tmp_path, "web: {operator_tokens: [an-operator-token], viewer_tokens: [seeing]}\n"))

    assert [token.role for token in loaded.granted] == [Role.VIEWER, Role.ADMIN]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_nobody_thought_of_needs_an_operator(method: str) -> None:
    assert needed(method, "/v1/something-new") is Role.OPERATOR


async def test_whoever_tries_many_tokens_is_told_to_wait_and_nobody_else(app: App) -> None:
    answers = [await ask(app, "GET", "/v1/pauses", f"guess-{number}") for number in range(DIFFERENT_MOST + 3)]
    right = await ask(app, "GET", "/v1/pauses", TOKENS[Role.ADMIN])
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    by_form = await call(app.internal, "POST", "/login", headers=form, body=b"token=guess")

    assert [answer.status for answer in answers] == [401] * DIFFERENT_MOST + [429] * 3
    assert 1 <= int(answers[-1].headers["retry-after"]) <= WINDOW_SECONDS + 1
    assert (right.status, by_form.status) == (200, 429)


async def test_a_program_with_one_wrong_token_is_not_taken_for_a_guess(app: App) -> None:
    answers = [await ask(app, "GET", "/v1/gate/200", "an-old-token") for _ in range(100)]
    right = await ask(app, "GET", "/v1/pauses", TOKENS[Role.ADMIN])

    assert {answer.status for answer in answers} == {401}
    assert right.status == 200


def test_a_window_ends_and_other_addresses_are_not_concerned() -> None:
    now, counted = [1_000.0], list[str]()
    attempts = Attempts(lambda: now[0], counted.append)
    for number in range(DIFFERENT_MOST):
        attempts.failed("10.0.0.1", f"{number}".encode())

    assert attempts.wait_seconds("10.0.0.1") > 0
    assert attempts.wait_seconds("10.0.0.2") == 0
    now[0] += WINDOW_SECONDS
    assert attempts.wait_seconds("10.0.0.1") == 0
    attempts.failed("10.0.0.1", b"once more")
    assert attempts.wait_seconds("10.0.0.1") == 0
    assert counted == ["unknown"] * DIFFERENT_MOST + ["limited", "unknown"]


def test_addresses_are_forgotten_before_they_are_too_many() -> None:
    attempts = Attempts(lambda: 1_000.0, lambda _: None)
    for number in range(3 * ADDRESSES_MOST):
        attempts.failed(f"10.0.{number // 256}.{number % 256}", b"guess")

    assert len(attempts._tried) <= ADDRESSES_MOST
