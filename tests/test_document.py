"""YAML text to values with places, and all that a text may try."""

import time
from pathlib import Path
from typing import Any

import pytest

from monitor import document
from monitor.document import BYTES_MOST, DEPTH_MOST, NODES_MOST, Document, Mistake, Mistaken


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

    assert read.places == {
        (): (1, 1), ("a",): (1, 1), ("a", 0): (2, 5), ("a", 0, "b"): (2, 5), ("a", 0, "c"): (3, 5),
    }  # fmt: skip
    assert str(read.mistake(("a", 0, "c", "deeper"), "is wrong")) == "file.yml:3:5: a[0].c.deeper: is wrong"


@pytest.mark.parametrize(("key", "shown"), [(".a", "..a"), ("x", ".x"), ("", ".")])
def test_a_path_is_written_with_its_keys_as_they_are(key: str, shown: str) -> None:
    assert document.dotted((key, 0, key)) == f"{key}[0]{shown}"


@pytest.mark.parametrize("read", [Document("file.yml", None, {}), document.read(b"", "file.yml")])
def test_a_document_that_knows_no_places_is_mistaken_at_its_beginning(read: Document) -> None:
    assert str(read.mistake(("a",), "is wrong")) == "file.yml:1:1: a: is wrong"


def test_mistakes_are_told_one_a_line_in_the_order_of_the_file() -> None:
    with pytest.raises(Mistaken) as caught:
        document.read(b"b: 1\nb: 2\nb: 3\n", "file.yml")

    assert str(caught.value) == (
        "file.yml:2:1: b: this key stands twice; first in line 1\n"
        "file.yml:3:1: b: this key stands twice; first in line 1"
    )


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
        (b"a: ! 5", "tags are not read"),
        (b"a: &x {b: 1}\nc: {<<: *x}", "merge keys"),
        (b"? [a]\n: b", "key must be a plain string"),
        (b"a:\n\t- b", "cannot start any token"),
        (b"a: 1\n---\nb: 2", "more than one document"),
        ("a: b".encode("utf-16"), "not UTF-8"),
        (b"a: \0", "special characters are not allowed"),
        (b"x" * (BYTES_MOST + 1), "more than 524288 bytes"),
        (b"a: [1, 2", "expected ',' or ']'"),
        (b'b: 1\na: "\\UFFFFFFFF"', "file.yml:2:1: can't be read"),
        (b'a: "\\U00110000"', "can't be read"),
        (b"%YAML 1." + b"9" * 5000 + b"\n---\na: 1", "can't be read"),
        (b'a: "\\ud800"', "half of a surrogate pair"),
        (b'"\\ud800": a', "half of a surrogate pair"),
        (b'a: "b\\0"', "a NUL is no text"),
    ],
)
def test_what_cannot_be_read_is_one_clear_mistake(text: bytes, message: str) -> None:
    (mistake,) = mistakes(text)

    assert message in mistake


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (b"x" * (BYTES_MOST + 1), Mistake("file.yml", 0, 0, "", f"more than {BYTES_MOST} bytes")),
        (b"a: \xff", Mistake("file.yml", 1, 4, "", "not UTF-8: byte 3")),
        ("\ufeffa: ".encode() + b"\xff", Mistake("file.yml", 1, 4, "", "not UTF-8: byte 6")),
        (b"a: \0", Mistake("file.yml", 1, 4, "", "special characters are not allowed: U+0000")),
        (b"a: 1\n a: 2", Mistake("file.yml", 2, 3, "", "mapping values are not allowed here")),
        (b"a: 1\na: 2\n---\nb: 1", Mistake("file.yml", 3, 1, "", "more than one document in the file")),
        (b"a: 1\nb: [*c]", Mistake("file.yml", 2, 5, "", "unknown alias *c")),
        (b"a: 1\nb: [!c 5]", Mistake("file.yml", 2, 5, "", "tags are not read: !c")),
    ],
)
def test_what_ends_reading_is_told_with_the_place_where_it_stands_and_no_path(text: bytes, mistake: Mistake) -> None:
    with pytest.raises(Mistaken) as caught:
        document.read(text, "file.yml")

    assert caught.value.mistakes == (mistake,)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"a: 1\nb: \xff", "2:4"), (b"a: 1\n\nb: 'x\0'", "3:6"), ("a: ü\x01".encode(), "1:5"), (b"\xfe", "1:1"),
        ("\ufeff\x01".encode(), "1:1"), ("\ufeffa: 1\nb: ü".encode() + b"\xff", "2:5"),
        (b"%YAML 1." + b"9" * 5000 + b"\n---\na: 1", "1:1"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_told_with_its_place(text: bytes, place: str) -> None:
    (mistake,) = mistakes(text)

    assert mistake.startswith(f"file.yml:{place}: ")


def test_a_text_may_be_as_long_as_the_cap() -> None:
    assert value("#" * BYTES_MOST) is None


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ("{a: ", "}"), ("[{a: ", "}]")])
def test_values_may_be_nested_as_deep_as_the_cap(begin: str, end: str) -> None:
    levels = DEPTH_MOST // (begin.count("[") + begin.count("{"))
    deep = f"{begin * levels}1{end * levels}"

    assert value(deep) is not None
    assert f"nested deeper than {DEPTH_MOST} levels" in mistakes(f"[{deep}]".encode())[0]


def test_there_may_be_as_many_values_as_the_cap_with_aliases_expanded() -> None:
    each = 100
    whole, rest = divmod(NODES_MOST - 1, each)  # one is the list of them all
    items = [f"&a [{', '.join(['1'] * (each - 1))}]", *["*a"] * (whole - 1), *["1"] * rest]

    assert len(value(f"[{', '.join(items)}]")) == whole + rest
    assert f"more than {NODES_MOST} values" in mistakes(f"[{', '.join([*items, '1'])}]".encode())[0]


def test_a_file_without_end_is_read_as_far_as_tells_that_it_is_too_long() -> None:
    assert len(document.content(Path("/dev/zero"))) == BYTES_MOST + 1


def test_a_long_text_that_many_aliases_repeat_is_looked_at_quickly() -> None:
    started_at = time.process_time()

    value(f"a: &a '{'x' * 200_000}'\nb: [{', '.join(['*a'] * 10_000)}]")

    assert time.process_time() - started_at < 5  # letter by letter it takes minutes


def test_a_billion_laughs_end_quickly() -> None:
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)]
    started_at = time.perf_counter()

    (mistake,) = mistakes(b"\n".join(levels))

    assert "aliases expanded" in mistake
    assert time.perf_counter() - started_at < 2
