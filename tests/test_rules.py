"""Rules files: right ones to records, wrong ones to every mistake with its place."""

import pytest

from monitor import rule_files
from monitor.document import Mistaken
from monitor.rules import Between, Like, OneOf

RULE = "rules: [{{name: one, match: {match}, actions: {actions}}}]"


def mistakes(text: str) -> list[str]:
    with pytest.raises(Mistaken) as caught:
        rule_files.load([("file.yml", text.encode())])
    return [str(mistake) for mistake in caught.value.mistakes]


def test_all_mistakes_come_at_once_with_their_place_and_a_guess() -> None:
    text = """\
rules:
  - name: Bad Name
    sumary: x
    match: {cod: 1, code: {regex: '(a'}}
    count: {at_least: 0, within: 60}
    actions:
      - pause: {scope: wabba}
      - paus: {}
      - alert: {severity: critcal}
"""

    found = mistakes(text)

    assert [mistake.split(": ")[0] for mistake in found] == [
        "file.yml:2:5", "file.yml:3:5", "file.yml:4:13", "file.yml:4:28", "file.yml:5:13", "file.yml:5:26",
        "file.yml:7:17", "file.yml:8:9", "file.yml:9:17",
    ]  # fmt: skip
    assert "did you mean summary?" in found[1]
    assert "did you mean code?" in found[2]
    assert "not an RE2 expression" in found[3]
    assert "did you mean waba?" in found[6]
    assert "did you mean pause?" in found[7]
    assert "did you mean critical?" in found[8]


@pytest.mark.parametrize(
    ("match", "actions", "message"),
    [
        ("{code: 1}", "[{pause: {scope: waba}}]", "say how the pause ends"),
        ("{code: 1}", "[{pause: {scope: waba, for: 1h, until: resumed}}]", "say how the pause ends"),
        ("{code: 1}", "[{pause: {scope: waba, for: 0s}}]", "greater than 0"),
        ("{code: 1}", "[{flag: {}, alert: {}}]", "exactly one key"),
        ("{code: 1}", "[]", "at least 1 item"),
        ("{}", "[flag]", "at least 1 item"),
        ("{code: {from: 1}}", "[flag]", "required"),
        ("{code: []}", "[flag]", "at least 1 item"),
        ("{code: 1}, count: {at_least: 2, within: 1m}", "[resend]", "cannot stand beside"),
        ("{code: 1}, count: {at_least: 2, within: 60d}", "[flag]", "less than or equal"),
    ],
)
def test_a_rule_that_makes_no_sense_is_a_mistake(match: str, actions: str, message: str) -> None:
    found = mistakes(RULE.format(match=match, actions=actions))

    assert any(message in mistake for mistake in found), found


def test_values_become_tests() -> None:
    text = "{code: [1, '2'], status: sent, phone_number_id: {regex: '2.*'}, wamid: {from: 1, to: 9}}"

    (rule,) = rule_files.load([("file.yml", RULE.format(match=text, actions="[flag]").encode())]).rules

    assert dict(rule.condition.matcher.tests) == {
        "code": OneOf(frozenset({"1", "2"})),
        "status": OneOf(frozenset({"sent"})),
        "phone_number_id": Like("2.*"),
        "wamid": Between(1, 9),
    }


def test_a_name_stands_once_over_all_files() -> None:
    text = RULE.format(match="{code: 1}", actions="[flag]").encode()

    with pytest.raises(Mistaken, match=r"b\.yml:1:9: rules\[0\]: a rule named one stands already at a\.yml:1"):
        rule_files.load([("a.yml", text), ("b.yml", text)])


def test_the_hash_follows_the_text() -> None:
    one = RULE.format(match="{code: 1}", actions="[flag]").encode()

    assert rule_files.load([("a", one)]).hash == rule_files.load([("b", one)]).hash
    assert rule_files.load([("a", one)]).hash != rule_files.load([("a", one + b" ")]).hash
