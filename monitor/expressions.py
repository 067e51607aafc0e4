"""Expressions: a rule's `when:` in CEL over the facts of an event, checked for its types before it is trusted."""

import difflib
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import re2

LENGTH_MOST = 512
PROGRAM_MOST = 2_000  # instructions of RE2 in all patterns of an expression; `\pL+` has 1,201, a plain text ten or so
NUMBERS = ("code", "limit", "previous_limit")
"""Facts that are whole numbers in expressions: 0 where there is none, -1 for unlimited; all others are strings."""
_UNLIMITED = "unlimited"
_NO_MACROS = "stdlib:\n  disable_macros: true\n"  # they are the only loops of CEL; patterns are bounded by `_bounded`
_LOOPS = frozenset(
    {"all", "exists", "exists_one", "existsOne", "map", "filter", "transformList", "transformMap", "transformMapEntry"}
)
_PATTERN_BYTES_MOST = 1 << 16  # RE2 gives up on larger programs at once, rather than after 200 ms
_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LEXEME = re.compile(
    r"//[^\n]*"
    r"|[bB]?[rR](?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|\"[^\"\n]*\")"
    r"|[bB]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^\\'\n])*'|\"(?:\\.|[^\\\"\n])*\")"
    r"|\w+|\S",
    re.DOTALL,
)


def check(text: str, names: Iterable[str]) -> str:
    """Return the expression as it is; raise ValueError with the reason where it can't be one."""
    facts = tuple(names)
    if len(text) > LENGTH_MOST:
        raise ValueError(f"an expression of {len(text)} characters; at most {LENGTH_MOST} are taken")
    if _SURROGATES.search(text):
        raise ValueError("not a CEL expression: it holds half a character (a lone surrogate)")
    environment = _environment(facts)
    try:
        expression = environment.compile(text)
    except RuntimeError as error:
        raise ValueError(_reason(str(error), text, facts)) from None
    if expression.return_type().name() != "BOOL":
        raise ValueError(f"an expression must be true or false, this one is of type {expression.return_type().name()}")
    _bounded(_patterns(text, environment))
    return text


def compiled(text: str, names: Iterable[str]) -> Callable[[Mapping[str, str]], bool]:
    """Return a test of facts by an expression that was checked; what fails while it is evaluated is false."""
    facts = tuple(names)
    environment = _environment(facts)
    expression = environment.compile(text)
    used = tuple(name for name in facts if name in text)  # each value handed over costs a third of a microsecond

    def holds(found: Mapping[str, str]) -> bool:
        try:
            return expression.eval(environment.Activation(_values(found, used))).value() is True
        except RuntimeError:  # a fact with a lone surrogate, which the library can't take
            return False

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


def _patterns(text: str, environment: Any) -> list[str]:
    """Return what stands in each `matches()`; a pattern that is not written out can't be judged beforehand."""
    lexemes = _lexemes(text)
    patterns = []
    for at, lexeme in enumerate(lexemes[:-1]):
        if lexeme != "matches" or lexemes[at + 1] != "(":
            continue
        literal, end = (*lexemes[at + 2 : at + 4], "", "")[:2]
        if literal[-1:] not in {"'", '"'} or end != ")":
            raise ValueError("not a CEL expression: write it as fact.matches('pattern'), with the pattern written out")
        patterns.append(environment.compile(literal).eval(environment.Activation({})).value())
    return patterns


def _bounded(patterns: list[str]) -> None:
    """Raise ValueError unless RE2 takes all the patterns; CEL compiles them again for each event, so they are small."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES_MOST
    size = 0
    for pattern in patterns:
        try:
            size += re2.compile(pattern, options).programsize
        except re2.error as error:
            told = error.args[0] if error.args else "cannot be compiled"
            told = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
            raise ValueError(f"not a CEL expression: invalid regular expression: {told[:200]}") from None
    if size > PROGRAM_MOST:
        raise ValueError(f"patterns of {size} instructions; an expression may have {PROGRAM_MOST}, repeat less")


def _lexemes(text: str) -> list[str]:
    return [lexeme for lexeme in _LEXEME.findall(text) if not lexeme.startswith("//")]


def _reason(told: str, text: str, facts: Iterable[str]) -> str:
    """Return what the library says, in one line and with a guess."""
    if "recursion" in told:
        return "not a CEL expression: nested too deep; 32 levels are taken, and each + or == of a chain is one"
    lexemes = _lexemes(text)
    called = [name for name, after in itertools.pairwise(lexemes) if after == "("]
    if loop := next((name for name in called if name in _LOOPS), None):
        return f"not a CEL expression: {loop}() is not taken, so that no expression takes long"
    if "has" in called:
        return "not a CEL expression: has() is not taken; a missing fact is '', a missing number 0"
    found = _PLACE.search(told)
    if found is None:
        return f"not a CEL expression: {' '.join(told.split())[:200]}"
    where = f"column {found[2]}" if found[1] == "1" else f"line {found[1]}, column {found[2]}"
    unknown = _UNDECLARED.search(found[3])
    if unknown is None:
        return f"not a CEL expression: {where}: {found[3][:200]}"
    if unknown[1] in called:
        return f"not a CEL expression: {where}: there is no function {unknown[1]}"
    near = difflib.get_close_matches(unknown[1], list(facts), n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"not a CEL expression: {where}: there is no fact {unknown[1]}{guess}"
