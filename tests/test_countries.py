"""The country of a person."""

import pytest

from monitor import countries


@pytest.mark.parametrize(
    ("person", "country"),
    [
        ("4915112345678", "DE"),
        ("5511987654321", "BR"),
        ("919812345678", "IN"),
        ("12025550123", "US"),
        ("14165550123", "CA"),
        ("77011234567", "KZ"),
        ("79161234567", "RU"),
        ("US.13491208655302741918", "US"),
        ("120363041234567890", ""),
        ("", ""),
        ("me", ""),
        ("us.1", ""),
        ("٤٩١٥١١٢٣٤٥٦٧٨", ""),
        ("999999999999", ""),
        ("1" * 40, ""),
    ],
)
def test_a_number_or_id_tells_its_country(person: str, country: str) -> None:
    assert countries.of(person) == country
