"""Meta's quota: what its headers say, and how many sends may leave before it is used up."""

import json

import pytest

from monitor.rates import Rates
from monitor.usages import ACCOUNT, APP, Usages

HEADER = b"X-Business-Use-Case-Usage"


def business(percent: float, minutes: int = 0) -> list[tuple[bytes, bytes]]:
    row = {"type": "whatsapp", "call_count": percent, "total_cputime": 1, "total_time": 2}
    told = {"100": [{**row, "estimated_time_to_regain_access": minutes}]}
    return [(HEADER, json.dumps(told).encode())]


@pytest.mark.parametrize(("percent", "share"), [(50, None), (79, None), (80, 1.0), (85, 0.75), (90, 0.5), (99, 0.05)])
def test_from_eighty_percent_on_a_smaller_share_may_leave(percent: int, share: float | None) -> None:
    usages = Usages()
    assert usages.learn("100", business(percent), 0.0) == [(ACCOUNT, float(percent))]

    slowing = usages.slowing("100", 1.0)

    assert (None if slowing is None else round(slowing.share, 9)) == share
    assert usages.slowing("101", 1.0) is None
    assert usages.slowing("100", 301.0) is None


@pytest.mark.parametrize(("percent", "minutes", "seconds"), [(100, 0, 60.0), (130, 0, 60.0), (90, 5, 300.0)])
def test_what_is_used_up_lets_nothing_through_for_as_long_as_meta_says(
    percent: int, minutes: int, seconds: float
) -> None:
    usages = Usages()
    usages.learn("100", business(percent, minutes), 0.0)

    slowing = usages.slowing("100", 10.0)

    assert slowing is not None
    assert (slowing.share, slowing.retry_after_seconds) == (0.0, seconds - 10.0)


def test_the_app_s_quota_concerns_every_account_and_the_tighter_of_two_counts() -> None:
    usages = Usages()
    usages.learn("100", [(b"x-app-usage", b'{"call_count":84,"total_time":1,"total_cputime":90}'), *business(96)], 0.0)

    own, other = usages.slowing("100", 1.0), usages.slowing("101", 1.0)

    assert own is not None
    assert other is not None
    assert (own.kind, round(own.share, 2), other.kind, other.share) == (ACCOUNT, 0.2, APP, 0.5)


@pytest.mark.parametrize(
    "value", [b"", b"x", b"[]", b"{}", b'{"100": 5}', b'{"100": [{"call_count": "many"}]}', b"[" * 9999]
)
def test_what_cannot_be_read_says_nothing(value: bytes) -> None:
    usages = Usages()

    assert usages.learn("100", [(HEADER, value)], 0.0) == []
    assert usages.slowing("100", 0.0) is None


def test_a_share_is_kept_over_many_sends() -> None:
    rates = Rates()

    assert sum(rates.share("account:100", 0.25) for _ in range(100)) == 25
    assert not any(rates.share("app:", 0.0) for _ in range(100))
