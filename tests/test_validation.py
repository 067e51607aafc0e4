"""Mistakes of a document: told for people, and silent about what was written where secrets may stand."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from monitor import document, rule_files, validation
from monitor.document import Mistaken
from monitor.sections import Config
from monitor.targets import Strict
from monitor.web_file import WebFile
from tests.test_config import SECRETS, folder, mistakes

__all__ = ["folder"]

CANARY = "hunter2-of-the-canary"
SHAPES: tuple[Any, ...] = (CANARY, [CANARY], [[CANARY]], {"name": CANARY}, [{"name": CANARY}], {f"ann:{CANARY}": None})
HTTP = {
    "basic_auth": {"username": "u", "password": "p"}, "authorization": {"credentials": "c"},
    "http_headers": {"X-Api-Key": {"values": ["a"], "secrets": ["b"]}}, "proxy_url": "http://p",
    "proxy_connect_header": {"X-Api-Key": ["d"]},
}  # fmt: skip
SECTIONS: dict[str, Any] = {
    "webhook": {"app_secrets": ["a"], "verify_tokens": ["b"]},
    "web": {"viewer_tokens": ["a"], "operator_tokens": ["b"], "admin_tokens": ["c"], "users": {"ann": "viewer"},
            "hosts": ["a"]},
    "privacy": {"keys": ["a"]},
    "gate": {"on_error": "deny"},
    "forward": [{"name": "app", "url": "http://a", **HTTP}],
    "alerts": {
        "alertmanagers": [{"url": "http://a", **HTTP}], "webhooks": [{"url": "http://a", "secret": "s", **HTTP}],
        "pagerduty": [{"url": "http://a", "routing_key": "k", **HTTP}], "slack": [{"api_url": "http://a", **HTTP}],
        "apprise": [{"url": "mailto://a"}],
    },
}  # fmt: skip
USERS: dict[str, Any] = {"basic_auth_users": {"ann": "$2b$10$"}}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each value."""
    yield path
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value: Any, path: tuple[str | int, ...], other: Any) -> Any:
    """Return a value with another one at a path."""
    if not path:
        return other
    made = copy.deepcopy(value)
    here = made
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = other
    return made


def told(model: type[pydantic.BaseModel], value: Any) -> list[str]:
    found = document.read(json.dumps(value).encode(), "file.yml")
    try:
        validation.validated(model, found)
    except Mistaken as error:
        return [str(one) for one in error.mistakes]
    return []


@pytest.mark.parametrize(("model", "whole"), [(Config, SECTIONS), (WebFile, USERS)])
def test_nothing_that_was_written_in_a_wrong_shape_is_repeated(model: type[pydantic.BaseModel], whole: Any) -> None:
    wrong = 0
    for path in places(whole):
        for shape in SHAPES:
            found = told(model, put(whole, path, shape))
            wrong += bool(found)
            assert CANARY not in str(found), (path, shape)
            assert not any(word in str(found) for word in ("tuple", "dictionary", "instance of", "valid ")), found

    assert wrong > 3 * len(list(places(whole)))


def models(section: type[pydantic.BaseModel]) -> Iterator[type[pydantic.BaseModel]]:
    yield section
    for one in section.__subclasses__():
        yield from models(one)


def test_each_field_that_holds_a_secret_is_tried() -> None:
    written = {part for whole in (SECTIONS, USERS) for path in places(whole) for part in path}
    fields = [one for model in models(Strict) for one in model.model_fields.items()]
    secret = {name for name, field in fields if "secrets.Secret" in repr(field.annotation)}

    assert len(secret) > 10
    assert secret <= written


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("gate: {on_error: denny}", "2:8: gate.on_error: not allowed; allowed: allow, deny; did you mean deny?"),
        ("web: {users: {ann: 123456}}", "2:15: web.users.ann: not allowed; allowed: viewer, operator, admin"),
        ("web: {hosts: a}", "2:7: web.hosts: must be a list, got a text"),
        ("privacy: a", "2:1: privacy: must be a mapping with the keys keys, keys_file, got a text"),
        ("privacy:", "2:1: privacy: must be a mapping with the keys keys, keys_file, got nothing"),
        ("store: {keep_free: 1e9XB}", "2:9: store.keep_free: must be a size, as 64MiB, got a text"),
        ("gate: {follow_meta: maybe}", "2:8: gate.follow_meta: must be true or false, got a text"),
        ("metrics: {series_most: 12}", "2:11: metrics.series_most: must be greater than or equal to 2000, got 12"),
        ("tracing: {sample: {default: a}}", "2:20: tracing.sample.default: must be a number, got a text"),
        ("forward: [{name: A, url: http://a}]", "2:12: forward[0].name: must fulfil ^[a-z][a-z0-9_-]{0,62}$"),
        (
            "forward: [{name: a, url: http://a, http_headers: {X-A: b}}]",
            "2:51: forward[0].http_headers.X-A: must be a mapping with the keys values, secrets, files, got a text",
        ),
        (
            "forward: [{name: a, url: http://a, basic_auth: {username: u, password:p}}]",
            "2:62: forward[0].basic_auth: unknown key; allowed: username, username_file, password, password_file; "
            "did you mean password?; is a blank missing after a colon?",
        ),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_who_wrote_it(folder: Path, section: str, told: str) -> None:
    (mistake,) = mistakes(folder, f"{SECRETS}\n{section}")

    assert mistake == f"monitor.yml:{told}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "must be a mapping with the keys time_intervals, rules, override, got nothing"),
        (b"rules: {name: one}", "rules: must be a list, got a mapping"),
        (b"rules: [{name: one, match: {code: 1}, mode: of, actions: [flag]}]", "not allowed: 'of'"),
        (b"rules: [{name: One, match: {code: 1}, actions: [flag]}]", "rules[0].name: 'One' must fulfil"),
    ],
)
def test_rules_hold_no_secret_and_a_wrong_word_of_theirs_is_shown(text: bytes, told: str) -> None:
    with pytest.raises(Mistaken) as caught:
        rule_files.load([("rules.yml", text)])

    assert told in str(caught.value)
