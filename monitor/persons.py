"""Whom a delivery speaks of, read off its bytes without parsing them: what is about one person goes in its order."""

import re

_NAMED = re.compile(
    rb'"(?:recipient_id|recipient_user_id|from|from_user_id|wa_id|user_id)"\s*:\s*"([^"\\]{1,128})"'
)  # fmt: skip
NOBODY = (b"",)  # what concerns the account keeps its own order


def of(body: bytes) -> tuple[bytes, ...]:
    """Return each id of a person in a delivery once, as it stands there."""
    return tuple(dict.fromkeys(_NAMED.findall(body))) or NOBODY
