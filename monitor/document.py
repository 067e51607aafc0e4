"""YAML text as plain values, each with its place, read so that no text can hurt or surprise.

Scalars follow YAML 1.2's core schema: `on`, `no` and `22:22` stay strings, `017` is seventeen. Duplicate keys, tags,
merge keys, non-string keys and text beyond the caps are mistakes. Aliases are expanded and counted as what they expand
to, so that a billion laughs ends at the node cap.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

BYTES_MOST = 512 * 1024
DEPTH_MOST = 32
NODES_MOST = 50_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:(?:\.[0-9]{1,18}|[0-9]{1,18}\.[0-9]{0,18})(?:[eE][-+]?[0-9]{1,2})?|[0-9]{1,18}[eE][-+]?[0-9]{1,2})",
    re.ASCII,
)
SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS: dict[str, bool | None] = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
}  # fmt: skip


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One thing wrong with a file, and where: line and column count from 1, 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Write the mistake as compilers do, so that editors jump to it."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class Mistaken(Exception):
    """Everything that is wrong with the files that were read, in their order."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(map(str, self.mistakes)))


class Document(msgspec.Struct, frozen=True):
    """A file's value (dicts, lists, scalars) and the line and column of each path in it."""

    file: str
    value: Any
    places: dict[tuple[str | int, ...], tuple[int, int]]

    def mistake(self, path: tuple[str | int, ...], message: str) -> Mistake:
        """Return a mistake at `path`, or at its nearest written ancestor."""
        at = path
        while at and at not in self.places:
            at = at[:-1]
        line, column = self.places.get(at, (1, 1))
        return Mistake(self.file, line, column, dotted(path), message)


Reader = Callable[[bytes, str], Document]
"""What makes a document of a text and its file's name: `read`, or a sandbox in which it runs."""


def content(path: Path) -> bytes:
    """Return what a file holds; of one that is too long, enough to tell."""
    with path.open("rb") as file:
        return file.read(BYTES_MOST + 1)


def dotted(path: tuple[str | int, ...]) -> str:
    """Write a path as `rules[0].match.code`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read(text: bytes, file: str) -> Document:
    """Read one YAML document; raise Mistaken with every duplicate key, or with the first thing that ends reading."""
    if len(text) > BYTES_MOST:
        raise Mistaken([Mistake(file, 0, 0, "", f"more than {BYTES_MOST} bytes")])
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]  # without the byte-order mark
        place, at = _place(before.decode()), len(text) - len(error.object) + error.start
        raise Mistaken([Mistake(file, *place, "", f"not UTF-8: byte {at}")]) from None
    reader = _Reader(file)
    try:
        value = reader.document(decoded)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise Mistaken([Mistake(file, line, column, "", str(error.problem))]) from None
    except yaml.reader.ReaderError as error:
        place = _place(decoded[: error.position])
        raise Mistaken([Mistake(file, *place, "", f"{error.reason}: U+{error.character:04X}")]) from None
    except (ValueError, OverflowError, RecursionError) as error:  # an escape beyond Unicode, an endless number
        raise Mistaken([Mistake(file, *reader.at, "", f"can't be read: {error}")]) from None
    if reader.mistakes:
        raise Mistaken(reader.mistakes)
    return Document(file, value, reader.places or {(): (1, 1)})


def _place(before: str) -> tuple[int, int]:
    """Return line and column of what follows a text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class _Reader:
    """Builds values from parse events, so that the caps hold before anything grows."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[tuple[str | int, ...], tuple[int, int]] = {}
        self.mistakes: list[Mistake] = []
        self._anchors: dict[str, list[yaml.Event]] = {}
        self._recording: list[list[yaml.Event]] = []
        self._nodes = 0

    def document(self, text: str) -> Any:
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        value: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(event, "more than one document in the file")
                value = self._node(next(self._events), (), 0)
        return value

    @property
    def at(self) -> tuple[int, int]:
        """Where reading has come to: line and column of the last value."""
        return next(reversed(self.places.values()), (1, 1))

    def _stop(self, event: Any, message: str) -> None:
        raise yaml.MarkedYAMLError(problem=message, problem_mark=event.start_mark)

    def _next(self) -> Any:
        event = next(self._events)
        for record in self._recording:
            record.append(event)
        return event

    def _node(self, event: Any, path: tuple[str | int, ...], depth: int) -> Any:
        self._nodes += 1
        if self._nodes > NODES_MOST:
            self._stop(event, f"more than {NODES_MOST} values, aliases expanded")
        if depth > DEPTH_MOST:
            self._stop(event, f"nested deeper than {DEPTH_MOST} levels")
        self.places.setdefault(path, (event.start_mark.line + 1, event.start_mark.column + 1))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, depth)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._stop(event, f"tags are not read: {tag}")
        anchor = getattr(event, "anchor", None)
        if anchor is None:
            return self._content(event, path, depth)
        self._recording.append([event])
        value = self._content(event, path, depth)
        self._anchors[anchor] = self._recording.pop()
        return value

    def _alias(self, event: Any, path: tuple[str | int, ...], depth: int) -> Any:
        recorded = self._anchors.get(event.anchor)
        if recorded is None:
            self._stop(event, f"unknown alias *{event.anchor}")
        live, self._events = self._events, iter(recorded or ())
        recording, self._recording = self._recording, []
        value = self._content(self._next(), path, depth)
        self._events, self._recording = live, recording
        return value

    def _content(self, event: Any, path: tuple[str | int, ...], depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            self._check(event)
            return _scalar(event.value) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(item := self._next(), yaml.SequenceEndEvent):
                items.append(self._node(item, (*path, len(items)), depth + 1))
            return items
        return self._mapping(path, depth)

    def _check(self, event: Any) -> None:
        if not event.value.isascii() and SURROGATE.search(event.value):
            self._stop(event, "half of a surrogate pair is no text")
        if "\0" in event.value:
            self._stop(event, "a NUL is no text")

    def _mapping(self, path: tuple[str | int, ...], depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                self._stop(key, "a key must be a plain string")
            self._check(key)
            if key.value == "<<" and key.implicit[0]:
                self._stop(key, "merge keys are not read")
            here = (*path, key.value)
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if key.value in mapping:
                first = self.places[here][0]
                self.mistakes.append(
                    Mistake(self.file, *place, dotted(here), f"this key stands twice; first in line {first}")
                )
            else:
                self.places[here] = place
            mapping[key.value] = self._node(self._next(), here, depth + 1)
        return mapping


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
