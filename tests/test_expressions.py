"""Expressions in CEL: what is one, what it says of facts, and that none takes long."""

import time

import pytest

from monitor import expressions
from monitor.vocabulary import FACTS

pytest.importorskip("cel_expr_python")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("code >= 131000 && category.startsWith('market')", True),
        ("code == 131042", True),
        ("limit == -1", True),
        ("previous_limit == 0", True),
        ("template == ''", True),
        ("category in ['utility', 'marketing']", True),
        ("recipient.matches('^a+$')", True),
        ("size(recipient) > 3", False),
        ("int(recipient) > 3", False),
        ("1 / (code - 131042) > 0", False),
        ("recipient.matches(r'^a\\w+$') && !category.matches(\"x|y'\")", True),
        ("template == 'a.matches(b)' || recipient.startsWith('a') // .matches(recipient)", True),
    ],
)
def test_an_expression_says_whether_facts_fulfil_it(text: str, expected: bool) -> None:
    facts = {"code": "131042", "category": "marketing", "recipient": "aaa", "limit": "unlimited"}

    assert expressions.compiled(expressions.check(text, FACTS), FACTS)(facts) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cod > 1", "no fact cod; did you mean code?"),
        ("code > 'x'", "no matching overload"),
        ("code + 1", "must be true or false, this one is of type INT"),
        ("code >", "column 7"),
        ("", "not a CEL expression"),
        ("[1, 2].all(x, x > 0)", r"all\(\) is not taken"),
        ("[1].map(x, [1].map(y, [1].map(z, z))) == []", r"map\(\) is not taken"),
        ("[1].transformList(i, v, v) == []", r"transformList\(\) is not taken"),
        ("has(recipient)", r"has\(\) is not taken; a missing fact is ''"),
        ("recipient.lowerAscii() == 'a'", "column 21: there is no function lowerAscii"),
        ("cod == 'x.map('", "no fact cod; did you mean code?"),
        ("recipient == '\ud800'", "half a character"),
        ("recipient.matches('(')", "invalid regular expression"),
        ("code != 0 && recipient.matches('(')", "invalid regular expression"),
        ("recipient.matches('(') && false", "invalid regular expression"),
        ("recipient.matches(template)", "with the pattern written out"),
        ("recipient.matches('a' + 'b')", "with the pattern written out"),
        ("matches(recipient, 'a')", "with the pattern written out"),
        (r"recipient.matches(r'\pL{300}')", "invalid regular expression: pattern too large"),
        ("recipient.matches('(a?){1000}x')", "an expression may have 2000"),
        ("||".join([r"recipient.matches(r'\pL+')"] * 2), "an expression may have 2000"),
        ("code == 1 || " * 60 + "true", "at most 512"),
        ("(" * 200 + "true" + ")" * 200, "nested too deep"),
        ("+".join(["1"] * 60) + " > 0", "nested too deep"),
        ("(" * 100_000, "at most 512"),
        ("recipient.contains(\x00)", "not a CEL expression"),
    ],
)
def test_what_is_none_is_told_with_its_place(text: str, told: str) -> None:
    started = time.monotonic()

    with pytest.raises(ValueError, match=told):
        expressions.check(text, FACTS)

    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "text",
    [
        "recipient.matches('(a+)+$')",
        "recipient.matches('(a|a)*b$')",
        "recipient.matches('(a?){400}x')",
        "recipient.matches('(a|b)*a(a|b){500}z')",
        "||".join(["recipient.matches('(a|b)*a(a|b){20}z')"] * 12),
        "(" + " + ".join(["recipient"] * 25) + ").contains('zzzz')",
        "(" + " + ".join(["recipient"] * 25) + ").matches('(x+x+)+y')",
    ],
)
def test_no_expression_takes_long_on_a_hostile_fact(text: str) -> None:
    holds = expressions.compiled(expressions.check(text, FACTS), FACTS)
    started = time.monotonic()

    assert not holds({"recipient": "a" * 10_000 + "!"})
    assert time.monotonic() - started < 0.2


def test_a_fact_that_the_library_cannot_take_is_false() -> None:
    holds = expressions.compiled(expressions.check("recipient != 'a'", FACTS), FACTS)

    assert not holds({"recipient": "\ud800"})
    assert holds({"recipient": "b"})


def test_every_fact_can_be_named() -> None:
    for name in FACTS:
        none = "0" if name in expressions.NUMBERS else "''"

        assert expressions.compiled(expressions.check(f"{name} == {none}", FACTS), FACTS)({})


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cel_expr_python", None)
    expressions._environment.cache_clear()

    with pytest.raises(ValueError, match=r"pip install 'whatsapp-monitor\[cel\]'"):
        expressions.check("true", FACTS)

    expressions._environment.cache_clear()
