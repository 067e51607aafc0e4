"""YAML text to values with places, and all that a text may try."""

import time
from typing import Any

import pytest

from monitor import document
from monitor.document import BYTES_MOST, Mistaken


def value(text: str) -> Any:
    return document.read(text.encode(), "file.yml").value


def mistakes(text: bytes) -> list[str]:
    with pytest.raises(Mistaken) as caught:
        document.read(text, "file.yml")
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"), ("on", "on"), ("NO", "NO"), ("22:22", "22:22"), ("017", 17), ("1e3", 1000.0), ("0x10", "0x10"),
        ("2024-13-45", "2024-13-45"), ("true", True), ("'true'", "true"), ("~", None), ("-5", -5), ("'5'", "5"),
        ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_scalars_are_what_they_look_like(text: str, expected: Any) -> None:
    assert value(f"key: {text}") == {"key": expected}


def test_each_value_knows_its_place() -> None:
    read = document.read(b"a:\n  - b: 1\n    c: 2\n", "file.yml")

    assert read.places[("a", 0, "c")] == (3, 5)
    assert str(read.mistake(("a", 0, "c", "deeper"), "is wrong")) == "file.yml:3:5: a[0].c.deeper: is wrong"


def test_every_duplicate_key_is_reported_with_its_first_place() -> None:
    assert mistakes(b"a: 1\nb: {c: 1, c: 2}\na: 2\n") == [
        "file.yml:2:11: b.c: this key stands twice; first in line 2",
        "file.yml:3:1: a: this key stands twice; first in line 1",
    ]


def test_aliases_are_expanded() -> None:
    assert value("a: &x [1, {b: 2}]\nc: *x\n") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "nested deeper"),
        (b"a: &a [*a]", "unknown alias"),
        (b"a: !!python/object:os.system {}", "tags are not read"),
        (b"a: &x {b: 1}\nc: {<<: *x}", "merge keys"),
        (b"? [a]\n: b", "key must be a plain string"),
        (b"a:\n\t- b", "cannot start any token"),
        (b"a: 1\n---\nb: 2", "more than one document"),
        ("a: b".encode("utf-16"), "not UTF-8"),
        (b"a: \0", "special characters are not allowed"),
        (b"x" * (BYTES_MOST + 1), "bytes; at most"),
        (b"a: [1, 2", "expected ',' or ']'"),
        (b'b: 1\na: "\\UFFFFFFFF"', "file.yml:2:1: can't be read"),
        (b'a: "\\U00110000"', "can't be read"),
        (b"%YAML 1." + b"9" * 5000 + b"\n---\na: 1", "can't be read"),
        (b'a: "\\ud800"', "half of a surrogate pair"),
    ],
)
def test_what_cannot_be_read_is_one_clear_mistake(text: bytes, message: str) -> None:
    (mistake,) = mistakes(text)

    assert message in mistake


def test_a_billion_laughs_end_quickly() -> None:
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)]
    started_at = time.perf_counter()

    (mistake,) = mistakes(b"\n".join(levels))

    assert "aliases expanded" in mistake
    assert time.perf_counter() - started_at < 2
