"""Tokens: put before the application's own value, and taken out again to the byte."""

import json

import pytest

from monitor import payloads, tokens

TOKEN = "0123456789abcdef" * 2


@pytest.mark.parametrize("own", ["", "order-7", 'é "quoted" \\ / 😀', "x" * 474])
def test_a_mark_is_put_before_the_value_and_read_off_it(own: str) -> None:
    fields = {"to": "15550001", "type": "text", "text": {"body": "h\u00e9llo", "n": 12345678901234567890}}
    body = json.dumps({**fields, "biz_opaque_callback_data": own} if own else fields).encode()

    marked = tokens.marked(body, tokens.KEYED, TOKEN)

    assert marked is not None
    sent = json.loads(marked)
    assert tokens.split(sent["biz_opaque_callback_data"]) == ("k", TOKEN, own)
    assert {name: value for name, value in sent.items() if name != "biz_opaque_callback_data"} == fields


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"biz_opaque_callback_data": 5}', b"[" * 100_000,
        json.dumps({"biz_opaque_callback_data": "x" * 500}).encode(),
    ],
)  # fmt: skip
def test_what_has_no_room_for_a_mark_is_left_alone(body: bytes) -> None:
    assert tokens.marked(body, tokens.KEYED, TOKEN) is None


@pytest.mark.parametrize(
    "value", ["", "order-7", "wm1k:", f"wm1x{TOKEN}:a", f" wm1k{TOKEN}:a", f"wm1k{TOKEN.upper()}:a"]
)
def test_a_value_of_the_application_s_own_stays_its_own(value: str) -> None:
    assert tokens.split(value) == ("", "", value)


@pytest.mark.parametrize("own", ["order-7", "", 'a"b', "wm1k"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_webhook_s_body_is_restored_to_the_byte(own: str, indent: int | None) -> None:
    def body(value: str | None) -> bytes:
        item = payloads.status("wamid.1", "sent", 1.0)
        if value is not None:
            item = {"id": "wamid.1", "biz_opaque_callback_data": value, **item}
        whole = {"entry": [{"id": "1", "changes": [payloads.change("200", statuses=[item, {"id": "w"}])]}]}
        return json.dumps(whole, indent=indent, separators=(",", ":") if indent is None else None).encode()

    assert tokens.restored(body(f"wm1k{TOKEN}:{own}")) == body(own or None)
    assert tokens.restored(body(own)) == body(own)


@pytest.mark.parametrize(
    ("marked", "restored"),
    [
        (b'{"a":1,"biz_opaque_callback_data":"%s"}', b'{"a":1}'),
        (b'{"biz_opaque_callback_data" : "%s" , "a":1}', b'{"a":1}'),
        (b'{"biz_opaque_callback_data":"%s"}', b"{}"),
    ],
)
def test_a_field_that_was_only_ours_is_gone_wherever_it_stood(marked: bytes, restored: bytes) -> None:
    assert tokens.restored(marked % f"wm1r{TOKEN}:".encode()) == restored
