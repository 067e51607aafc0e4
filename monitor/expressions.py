"""Expressions: a rule's `when:` in CEL over the facts of an event, checked for its types before it is trusted."""

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

LENGTH_MOST = 512
NUMBERS = ("code", "limit", "previous_limit")
"""Facts that are whole numbers in expressions: 0 where there is none, -1 for unlimited; all others are strings."""
_UNLIMITED = "unlimited"
_NO_MACROS = "stdlib:\n  disable_macros: true\n"  # they are the only loops of CEL: without them nothing takes long
_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_MACRO = re.compile(r"\.(all|exists|exists_one|map|filter)\s*\(")


def check(text: str, names: Iterable[str]) -> str:
    """Return the expression as it is; raise ValueError with the reason where it can't be one."""
    facts = tuple(names)
    if len(text) > LENGTH_MOST:
        raise ValueError(f"an expression of {len(text)} characters; at most {LENGTH_MOST} are taken")
    environment = _environment(facts)
    try:
        expression = environment.compile(text)
    except RuntimeError as error:
        raise ValueError(_reason(str(error), text, facts)) from None
    if expression.return_type().name() != "BOOL":
        raise ValueError(f"an expression must be true or false, this one is of type {expression.return_type().name()}")
    found = expression.eval(environment.Activation(_values({}, facts)))
    if "invalid regular expression" in str(found.value()):
        raise ValueError(f"not a CEL expression: {str(found.value()).removeprefix('INVALID_ARGUMENT: ')}")
    return text


def compiled(text: str, names: Iterable[str]) -> Callable[[Mapping[str, str]], bool]:
    """Return a test of facts by an expression that was checked; what fails while it is evaluated is false."""
    facts = tuple(names)
    environment = _environment(facts)
    expression = environment.compile(text)

    def holds(found: Mapping[str, str]) -> bool:
        return expression.eval(environment.Activation(_values(found, facts))).value() is True

    return holds


def _values(found: Mapping[str, str], facts: Iterable[str]) -> dict[str, Any]:
    return {name: _number(found.get(name, "")) if name in NUMBERS else found.get(name, "") for name in facts}


def _number(text: str) -> int:
    if text == _UNLIMITED:
        return -1
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 18 else 0


@functools.lru_cache(4)
def _environment(facts: tuple[str, ...]) -> Any:
    try:
        from cel_expr_python import cel  # noqa: PLC0415 (an extra: rules without `when:` need none)
    except ImportError:
        raise ValueError("`when:` needs the extra: pip install 'whatsapp-monitor[cel]'") from None
    types = {name: cel.Type.INT if name in NUMBERS else cel.Type.STRING for name in facts}
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml(_NO_MACROS), variables=types)


def _reason(told: str, text: str, facts: Iterable[str]) -> str:
    """Return what the library says, in one line and with a guess."""
    found = _PLACE.search(told)
    if found is None:
        return f"not a CEL expression: {' '.join(told.split())[:200]}"
    if (macro := _MACRO.search(text)) is not None:
        return f"not a CEL expression: {macro[1]}() is not taken, so that no expression takes long"
    where = f"column {found[2]}" if found[1] == "1" else f"line {found[1]}, column {found[2]}"
    unknown = _UNDECLARED.search(found[3])
    if unknown is None:
        return f"not a CEL expression: {where}: {found[3][:200]}"
    near = difflib.get_close_matches(unknown[1], list(facts), n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"not a CEL expression: {where}: there is no fact {unknown[1]}{guess}"
