"""Meta's words may show anywhere, so that what can't be one must not pass for one."""

import pytest

from monitor import scalars


@pytest.mark.parametrize(
    "said", ["", "sent", "TIER_1K", "user_changed_number", "v23.0", "PENDING-DELETION", "marketing_messages", "131043"]
)
def test_a_word_is_read_as_it_came(said: str) -> None:
    assert scalars.word(said) == said


@pytest.mark.parametrize(
    "said", ["two words", "15550100011", "of_15550100011", "a@b.example", "l\nine", "\u00e9t\u00e9", "<b>", "x" * 65]
)
def test_what_may_be_somebody_s_is_not_a_word(said: str) -> None:
    assert scalars.word(said) == scalars.MALFORMED


@pytest.mark.parametrize(("said", "read"), [(None, ""), (["sent"], ""), (True, ""), (7, "7"), ("se\0nt", "sent")])
def test_what_is_no_text_is_read_as_text_is(said: object, read: str) -> None:
    assert scalars.word(said) == read
