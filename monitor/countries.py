"""The country of a person, by the number or the business-scoped user id that Meta gives."""

import functools

import phonenumbers

_LEADING = 7  # digits that tell the country even where several share a calling code


def of(person: str) -> str:
    """Return the country in two letters, empty where it can't be told; a business-scoped id begins with it."""
    if person[2:3] == "." and person[:2].isascii() and person[:2].isupper():
        return person[:2]
    if not person.isascii() or not person.isdigit() or not _LEADING <= len(person) <= 15:
        return ""
    return _region(person[:_LEADING], len(person))


@functools.lru_cache(10_000)
def _region(leading: str, length: int) -> str:
    """Ask for a number that begins so: nobody's own number stays in the cache."""
    try:
        number = phonenumbers.parse(f"+{leading.ljust(length, '0')}")
    except phonenumbers.NumberParseException:
        return ""
    regions = phonenumbers.region_codes_for_country_code(number.country_code or 0)
    found = phonenumbers.region_code_for_number(number) or (regions[0] if regions else "")
    return found if len(found) == 2 else ""  # 001 stands for calling codes of no country
