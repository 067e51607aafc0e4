"""Durations and rates, as people write them."""

import re
from pathlib import Path

import pytest

from monitor import durations, rule_files
from monitor.document import Mistaken
from monitor.web import asks
from monitor.web.asks import AskError
from tests.test_config import SECRETS, folder, mistakes

__all__ = ["folder"]

TOO_LONG = ("9999y", "100y1ms", "36501d", "5215w", "9999999999999999999999999999999y")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("0s", 0.0), ("1h30m", 5400.0), ("2d", 172_800.0), ("100y", 3_153_600_000.0)]
)
def test_a_duration_is_read_as_prometheus_writes_it(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", TOO_LONG)
def test_of_a_time_that_has_no_date_nothing_is_made(text: str) -> None:
    with pytest.raises(ValueError, match=f"longer than 100y: {text}"):
        durations.parse(text)


def test_what_the_schema_takes_is_never_too_long() -> None:
    longest = "39y999w9999d99999h999999m999999s"

    assert re.fullmatch(durations.POSITIVE, longest)
    assert re.fullmatch(durations.POSITIVE, "0s") is None
    assert durations.parse(longest) + 1000 < durations.LONGEST_SECONDS


def test_a_pause_of_an_operator_a_rule_or_a_configuration_has_a_date_to_end_at(folder: Path) -> None:
    rule = "rules: [{name: one, match: {code: 1}, actions: [{pause: {scope: all, for: 9999y}}]}]"

    with pytest.raises(AskError, match="for: longer than 100y: 9999y"):
        asks.positive("9999y", "for")
    with pytest.raises(Mistaken, match=r"pause\.for: longer than 100y: 9999y"):
        rule_files.load([("rules.yml", rule.encode())])
    assert mistakes(folder, f"{SECRETS}\nstore: {{history_retention: 9999y}}") == [
        "monitor.yml:2:9: store.history_retention: longer than 100y: 9999y"
    ]
