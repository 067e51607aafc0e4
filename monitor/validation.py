"""A document held against what it may say: each fault at its place, with the allowed values and a guess."""

import difflib
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pydantic

from monitor import document
from monitor.document import Document, Mistake, Mistaken

MISTAKES_MOST = 100  # of a file are told one by one: nobody reads thousands, and each takes its time
_WANTED = {
    "tuple_type": "a list", "list_type": "a list", "dict_type": "a mapping", "string_type": "a text",
    "bool_type": "true or false", "bool_parsing": "true or false", "int_type": "a whole number",
    "int_parsing": "a whole number", "int_parsing_size": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number",
    "byte_size": "a size, as 64MiB", "byte_size_unit": "a size, as 64MiB",
}  # fmt: skip


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
    is_silent = _is_silent(model)
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
            if is_silent and path and ":" in str(path[-1]):  # in { } a blank makes the difference: {password:hunter2}
                told = f"{message}; is a blank missing after a colon?"
                found[path] = msgspec.structs.replace(found[path], path=document.dotted(path[:-1]), message=told)
    return list(found.values())


def _written(value: Any, location: Iterable[str | int]) -> tuple[str | int, ...]:
    """Return the path as it stands in the file: a single item may stand for a list of one, or a word for a mapping."""
    path: list[str | int] = []
    for part in location:
        if not isinstance(value, dict | list):
            break
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
    shown = "" if _is_silent(model) and not isinstance(given, float | int) else plain(given)
    if kind == "literal_error":  # where a role is wanted somebody may write a password, and of digits only
        told = "not allowed" if _is_silent(model) else f"not allowed: {shown}"
        return with_guess(told, str(given), _quoted(context["expected"]))
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "required, but missing"
    if kind == "string_pattern_mismatch":
        return f"{shown} must fulfil {context['pattern']}".strip()
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, got {_kind(given)}"
    if kind == "model_type":
        keys = _allowed_keys(model, tuple(part for part in detail["loc"] if _is_written(part)))
        return f"must be a mapping with the keys {', '.join(keys)}, got {_kind(given)}"
    told = f"{detail['msg'][0].lower()}{detail['msg'][1:]}".replace("input should be", "must be")
    return f"{told}, got {shown}" if shown else told


def _is_silent(model: type[pydantic.BaseModel]) -> bool:
    """Say whether nothing is repeated of what was written: secrets may stand there, also where they do not belong."""
    return bool(model.model_config.get("hide_input_in_errors"))


def _kind(given: Any) -> str:
    match given:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "a mapping"


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
        if isinstance(part, int):
            here = here.get("items", {})
        else:  # of a mapping with names of one's own all values are alike
            alike = [*here.get("patternProperties", {}).values(), here.get("additionalProperties") or here]
            here = here.get("properties", {}).get(part, alike[0])
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
