"""Meta's signature: one header, of one form, made with one of our secrets."""

import pytest

from monitor import signature

SECRET, OTHER = b"0123456789abcdef", b"another-secret-of-ours"
GOOD = signature.sign(b"body", SECRET).encode()


def test_a_signature_is_what_openssl_makes_of_it() -> None:
    assert GOOD == b"sha256=" + b"c34c3195f4d0282ae2dee7ddba19f07877594896ece7578eed7044843650c708"


@pytest.mark.parametrize(
    ("secrets", "number"), [([SECRET], 1), ([SECRET, OTHER], 1), ([OTHER, SECRET], 2), ([OTHER, SECRET, OTHER], 2)]
)
def test_whichever_of_the_secrets_signed_it_is_told(secrets: list[bytes], number: int) -> None:
    assert signature.verify(b"body", GOOD, secrets) == number
    assert signature.verify(b"body", b"sha256=" + GOOD[7:].upper(), secrets) == number


@pytest.mark.parametrize(
    ("body", "header", "secrets"),
    [
        (b"bodY", GOOD, [SECRET]), (b"body", GOOD, [OTHER]), (b"body", GOOD, []), (b"body", GOOD[:-1] + b"e", [SECRET]),
        (b"body", b"", [SECRET]), (b"body", GOOD[7:], [SECRET]), (b"body", GOOD + b"0", [SECRET]),
        (b"body", b" " + GOOD, [SECRET]), (b"body", b"sha1=" + GOOD[7:], [SECRET]),
    ],
)  # fmt: skip
def test_nothing_else_is(body: bytes, header: bytes, secrets: list[bytes]) -> None:
    assert signature.verify(body, header, secrets) == 0


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ([GOOD], None), ([], "signature_missing"), ([GOOD, GOOD], "signature_mismatch"), ([b""], "signature_mismatch"),
        ([b"sha256="], "signature_mismatch"), ([GOOD + b"\n"], "signature_mismatch"),
        ([b"sha256=" + b"\xe9" * 64], "signature_mismatch"),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_right_is_known_before_the_body(headers: list[bytes], fault: str | None) -> None:
    assert signature.form_fault(headers) == fault
