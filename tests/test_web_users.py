"""Users with passwords, tokens with names: who is known by name stands in the audit by it."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import msgspec
import pytest

from monitor import app as application
from monitor import config, roles
from monitor.app import App
from monitor.attempts import DIFFERENT_MOST
from monitor.document import Mistaken
from monitor.roles import Role
from monitor.web import credentials, login
from tests.asgi import Answer, call
from tests.test_web import configured

HASHES = {name: bcrypt.hashpw(f"{name}-password".encode(), bcrypt.gensalt(4)).decode() for name in ("ann", "grafana")}
USERS = "basic_auth_users:\n" + "".join(f"  {name}: '{found}'\n" for name, found in HASHES.items())
WEB = "web:\n  users: {ann: operator}\n  operator_tokens: [ci a-token-0123456789, 'sha256:%s']\n"
PAUSE = {"scope": "all", "reason": "review"}


def loaded_with(directory: Path, users: str, web: str) -> tuple[config.Loaded, Path]:
    file, web_file = configured(directory, web), directory / "web.yml"
    web_file.write_text(users, encoding="utf-8")
    return config.load(file, web_path=web_file), file


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setattr(login, "REFUSED_SECONDS", 0.0)
    loaded, file = loaded_with(tmp_path, USERS, WEB % roles.proof_of("hashed-token").hex())
    made = application.build(loaded, file)
    await made.start()
    yield made
    await made.close()


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


async def ask(app: App, method: str, path: str, authorization: str, **body: object) -> Answer:
    headers = [("Authorization", authorization), ("Content-Type", "application/json")]
    return await call(app.internal, method, path, headers=headers, body=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("authorization", "read", "write"),
    [
        (basic("ann", "ann-password"), 200, 201),
        (basic("grafana", "grafana-password"), 200, 403),
        (basic("ann", "grafana-password"), 401, 401),
        (basic("bob", "ann-password"), 401, 401),
        (basic("ann", "ann-password\0"), 401, 401),
        (basic("ann", "x" * 73), 401, 401),
        (basic("ann", ""), 401, 401),
        ("Basic not-base64", 401, 401),
        ("Basic " + base64.b64encode(b"no colon").decode(), 401, 401),
        ("Bearer a-token-0123456789", 200, 201),
        ("Bearer hashed-token", 200, 201),
        ("Bearer " + roles.proof_of("hashed-token").hex(), 401, 401),
        ("Bearer " + HASHES["ann"], 401, 401),
        ("Bearer ci a-token-0123456789", 401, 401),
        ("Digest a-token-0123456789", 401, 401),
    ],
)  # fmt: skip
async def test_who_is_known_may_do_what_their_role_says(app: App, authorization: str, read: int, write: int) -> None:
    for _ in range(2):  # the second time a password is remembered
        assert (await ask(app, "GET", "/v1/pauses", authorization)).status == read
        assert (await ask(app, "POST", "/v1/pauses", authorization, **PAUSE, actor="somebody")).status == write


@pytest.mark.parametrize(
    ("authorization", "claimed", "stands"),
    [
        (basic("ann", "ann-password"), {}, "ann"),
        (basic("ann", "ann-password"), {"actor": "ann"}, "ann"),
        (basic("ann", "ann-password"), {"actor": "bob"}, "ann as bob"),
        ("Bearer a-token-0123456789", {"actor": "deploy 17"}, "ci as deploy 17"),
        ("Bearer hashed-token", {"actor": "bob"}, "bob"),
    ],
)
async def test_the_audit_names_who_is_known_and_not_only_who_they_say_to_be(
    app: App, authorization: str, claimed: dict[str, str], stands: str
) -> None:
    placed = await ask(app, "POST", "/v1/pauses", authorization, **PAUSE, **claimed)
    audit = (await ask(app, "GET", "/v1/audit?limit=1", authorization)).json()["audit"][0]

    assert (placed.status, placed.json()["pause"]["actor"], audit["actor"]) == (201, stands, stands)


async def test_a_token_without_a_name_has_to_say_who_acts(app: App) -> None:
    assert (await ask(app, "POST", "/v1/pauses", "Bearer hashed-token", **PAUSE)).status == 422


async def test_a_user_signs_in_at_the_page_and_stands_in_the_audit_by_name(app: App) -> None:
    form = ("Content-Type", "application/x-www-form-urlencoded")
    shown = await call(app.internal, "GET", "/login")
    wrong = await call(app.internal, "POST", "/login", headers=[form], body=b"name=ann&token=wrong")
    right = await call(app.internal, "POST", "/login", headers=[form], body=b"name=ann&token=ann-password")
    placed = (await ask(app, "POST", "/v1/pauses", "Bearer hashed-token", **PAUSE, actor="bob")).json()["pause"]["id"]
    session = right.headers["set-cookie"].partition(";")[0]
    page = await call(app.internal, "GET", f"/pauses/{placed}", headers=[("Cookie", session)])

    assert b'name="name"' in shown.body
    assert (wrong.status, right.status, page.status) == (403, 303, 200)
    assert b'value="ann"' in page.body


async def test_who_guesses_passwords_is_told_to_wait_and_bcrypt_is_not_asked(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    check = bcrypt.checkpw

    def counted(password: bytes, proof: bytes) -> bool:
        nonlocal asked
        asked += 1
        return check(password, proof)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert (await ask(app, "GET", "/v1/pauses", basic("grafana", "grafana-password"))).status == 200
    answers = [
        (await ask(app, "GET", "/v1/pauses", basic("ann", f"guess {number}"))).status
        for number in range(DIFFERENT_MOST + 5)
    ]
    known = await ask(app, "GET", "/v1/pauses", basic("grafana", "grafana-password"))

    assert answers == [401] * DIFFERENT_MOST + [429] * 5
    assert asked == DIFFERENT_MOST + 1
    assert known.status == 200


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float, *, is_right: bool) -> list[bytes]:
    """Let bcrypt take so long for its answer; return the passwords that it is asked for."""
    asked: list[bytes] = []

    def check(password: bytes, _: bytes) -> bool:
        asked.append(password)
        time.sleep(seconds)
        return is_right

    monkeypatch.setattr(bcrypt, "checkpw", check)
    return asked


async def test_guesses_that_come_at_once_are_no_more_than_those_that_come_in_turn(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = slowly(monkeypatch, 0.02, is_right=False)
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    guesses = [ask(app, "GET", "/v1/pauses", basic("ann", f"guess {number}")) for number in range(DIFFERENT_MOST)]
    forms = [
        call(app.internal, "POST", "/login", headers=form, body=b"name=ann&token=guess+%d" % number)
        for number in range(20)
    ]

    *answers, known = await asyncio.gather(*guesses, *forms, ask(app, "GET", "/v1/pauses", "Bearer a-token-0123456789"))

    assert [answer.status for answer in answers] == [401] * DIFFERENT_MOST + [429] * 20
    assert len(asked) == DIFFERENT_MOST
    assert known.status == 200


async def test_a_right_password_that_comes_many_times_at_once_is_looked_at_once_and_is_no_guess(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = slowly(monkeypatch, 0.02, is_right=True)

    at_once = await asyncio.gather(*(ask(app, "GET", "/v1/pauses", basic("ann", "right")) for _ in range(20)))
    wrong = [await ask(app, "GET", "/v1/pauses", f"Bearer guess-{number}") for number in range(DIFFERENT_MOST)]

    assert {answer.status for answer in at_once} == {200}
    assert asked == [b"right"]
    assert {answer.status for answer in wrong} == {401}


async def test_few_passwords_wait_to_be_looked_at_and_no_token_behind_them(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "CHECKS_MOST", 2)
    slowly(monkeypatch, 0.3, is_right=False)
    guesses = [
        asyncio.create_task(ask(app, "GET", "/v1/pauses", basic(name, "guess"))) for name in ("ann", "grafana", "bob")
    ]
    began_at = time.monotonic()
    known = await ask(app, "GET", "/v1/pauses", "Bearer hashed-token")
    seconds = time.monotonic() - began_at

    answers = await asyncio.gather(*guesses)

    assert [answer.status for answer in answers] == [401, 401, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert known.status == 200
    assert seconds < 0.3


TOKEN_WEB, NO_WEB = "web: {operator_tokens: [a-token-0123456789]}\n", ""


@pytest.mark.parametrize(
    ("users", "web", "later_users", "later_web", "is_taken"),
    [
        ("", TOKEN_WEB, "", NO_WEB, False),
        (USERS, NO_WEB, "", NO_WEB, False),
        (USERS, TOKEN_WEB, USERS, NO_WEB, True),
        (USERS, TOKEN_WEB, "", TOKEN_WEB, True),
    ],
    ids=["the_last_token", "the_last_user", "tokens_beside_users", "users_beside_tokens"],
)
@pytest.mark.parametrize("must_be_closed", [True, False])
async def test_no_reload_opens_a_listener_to_everybody(
    tmp_path: Path, users: str, web: str, later_users: str, later_web: str, is_taken: bool, must_be_closed: bool
) -> None:
    """It was looked at where the process starts only."""
    loaded, file = loaded_with(tmp_path, users, web)
    app = application.build(msgspec.structs.replace(loaded, must_be_closed=must_be_closed), file)
    loaded_with(tmp_path, later_users, later_web)

    try:
        await app.start()
        mistakes = [mistake.message for mistake in await app.reload()]
        anybody = (await call(app.internal, "GET", "/v1/pauses")).status
        again = await app.reload()
    finally:
        await app.close()

    is_refused = must_be_closed and not is_taken
    assert [one.partition(" can be ")[0] for one in mistakes] == ["the internal listener"] * is_refused
    assert (bool(again), anybody) == (is_refused, 401 if is_refused or is_taken else 200)


def test_users_are_viewers_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    loaded, _ = loaded_with(tmp_path, USERS, "web: {users: {ann: admin}}\n")

    assert {one.name: one.role for one in loaded.granted} == {"ann": Role.ADMIN, "grafana": Role.VIEWER}


@pytest.mark.parametrize(
    ("users", "web", "told"),
    [
        (USERS, "web: {users: {anne: admin}}\n", ": web.users.anne: --web.config.file has no user"),
        ("basic_auth_users: {ann: secret-word}\n", "", "web.yml:1:20: basic_auth_users.ann: must be a bcrypt hash"),
        (f"basic_auth_users: {{ann: '$2b$31${'a' * 53}'}}\n", "", "its cost must be between 4 and 15"),
        (f"basic_auth_users: {{ann: '{HASHES['ann'][:28]}z{HASHES['ann'][29:]}'}}\n", "", "its salt can't be read"),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}\n", "", "min_version"),
        (f"basic_auth_users: {{'ann lee': '{HASHES['ann']}'}}\n", "", "names are of letters, digits"),
        ("basic_auth_user: {}\n", "", "did you mean basic_auth_users?"),
        ("tls_server_config: {cert_file: a.pem}\n", "", "tls_server_config.key_file: required"),
        ("tls_server_config: {cert_file: a.pem, key_file: k.pem}\n", "", "tls_server_config: can't be used: "),
        ("http_server_config: {headers: {Server: x}}\n", "", "unknown key"),
        ("", "web: {operator_tokens: ['ann bob secret-word']}\n", "web.operator_tokens: must be TOKEN or NAME TOKEN"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_without_the_secret(
    tmp_path: Path, users: str, web: str, told: str
) -> None:
    with pytest.raises(Mistaken) as error:
        loaded_with(tmp_path, users, web)

    assert told in str(error.value)
    assert "secret-word" not in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Mistaken, match=r"absent\.yml: can't be read"):
        config.load(configured(tmp_path, ""), web_path=tmp_path / "absent.yml")


def test_meta_has_no_password_for_the_public_listener(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(USERS, encoding="utf-8")
    with pytest.raises(Mistaken, match="basic_auth_users: Meta signs"):
        config.load(configured(tmp_path, ""), webhook_path=tmp_path / "web.yml")
