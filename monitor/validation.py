"""A document held against what it may say: each fault at its place, with the allowed values and a guess."""

import difflib
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic

from monitor.document import Document, Mistake, Mistaken

MISTAKES_MOST = 100  # of a file are told one by one: nobody reads thousands, and each takes its time


def validated(model: type[pydantic.BaseModel], read: Document) -> Any:
    """Return the document as `model`; raise Mistaken with each fault at its place, allowed values and a guess."""
    try:
        return model.model_validate(read.value)
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False)
        raise Mistaken(_mistakes(model, read, details)) from None


def _mistakes(model: type[pydantic.BaseModel], read: Document, details: Sequence[Any]) -> list[Mistake]:
    """Write pydantic's errors for people; of the branches of a union only the nearest one speaks."""
    found: dict[tuple[str | int, ...], Mistake] = {}
    for number, detail in enumerate(details):
        path = _written(read.value, detail["loc"])
        while path and path not in read.places and path[:-1] not in read.places:
            path = path[:-1]
        if number == MISTAKES_MOST:
            found[path] = read.mistake(path, f"from here on {len(details) - number} more are wrong")
            break
        message = _message(model, detail)
        if path not in found or detail["type"] == "extra_forbidden":
            found[path] = read.mistake(path, message)
    return list(found.values())


def _written(value: Any, location: Iterable[str | int]) -> tuple[str | int, ...]:
    """Return the path as it stands in the file: a single item may stand for a list of one."""
    path: list[str | int] = []
    for part in location:
        if not _is_written(part) or (isinstance(part, int) and not isinstance(value, list)):
            continue
        path.append(part)
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
    return tuple(path)


def _is_written(part: str | int) -> bool:
    """Leave out what pydantic adds for union branches and dictionary keys."""
    return isinstance(part, int) or not (part.startswith(("(", "[")) or part in {"int", "str", "bool"})


def _message(model: type[pydantic.BaseModel], detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    given = detail.get("input")
    if kind == "extra_forbidden":
        allowed = _allowed_keys(model, tuple(part for part in detail["loc"][:-1] if _is_written(part)))
        return with_guess("unknown key", str(detail["loc"][-1]), allowed)
    if kind == "literal_error":
        return with_guess(f"not allowed: {plain(given)}", str(given), _quoted(context["expected"]))
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "required, but missing"
    if kind == "string_pattern_mismatch":
        return f"{plain(given)} must fulfil {context['pattern']}"
    # Of a whole file nothing is shown: it may be one that only we may read.
    shown = plain(given) if detail["loc"] or given is None else f"a {type(given).__name__}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown}"


def with_guess(what: str, given: str, allowed: Sequence[str]) -> str:
    """Return what is wrong with the allowed words, and the one that was probably meant."""
    near = difflib.get_close_matches(given, allowed, n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"{what}; allowed: {', '.join(allowed)}{guess}" if allowed else what


def _quoted(expected: str) -> list[str]:
    return [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]


def _allowed_keys(model: type[pydantic.BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the model takes at `path`, by walking its JSON Schema."""
    schema = _schema(model)
    here: Any = schema
    for part in path:
        here = _resolve(schema, here)
        here = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part, here)
    return list(_resolve(schema, here).get("properties", {}))


@functools.cache
def _schema(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _resolve(schema: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    for branch in (here, *here.get("anyOf", ()), *here.get("allOf", ())):
        if "$ref" in branch:
            return dict(schema["$defs"][branch["$ref"].rsplit("/", 1)[1]])
    return here


def plain(value: Any) -> str:
    """Return a value as it is shown in a message, cut short."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return repr(text[:60]) if isinstance(value, str) else text[:60]
