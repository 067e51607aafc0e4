"""Who is signed in to the status page: a cookie that proves what somebody knew, and marks that forms carry."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

from monitor.roles import Granted

COOKIE, FORM_COOKIE = "whatsapp_monitor_session", "whatsapp_monitor_form"
LASTS_SECONDS = 12 * 3600
_OURS = frozenset({COOKIE, FORM_COOKIE})
_NONCE = re.compile(r"[0-9a-f]{32}")


class Sessions:
    """Nothing is kept: a session is signed with what proved who opened it, and ends when that is taken away."""

    def __init__(self, hash_key: bytes, granted: Callable[[], Sequence[Granted]], clock: Callable[[], float]) -> None:
        self._key = hmac.digest(hash_key, b"status page", "sha256")
        self._granted = granted
        self._clock = clock

    @property
    def is_needed(self) -> bool:
        """Whether there are tokens or users, so that a browser must sign in."""
        return bool(self._granted())

    def opened(self, known: Granted) -> str:
        """Return a new session for somebody who is known."""
        told = f"{int(self._clock()) + LASTS_SECONDS}.{secrets.token_hex(16)}"
        return f"{told}.{self._signed(known, told)}"

    def granted(self, headers: Iterable[tuple[bytes, bytes]]) -> Granted | None:
        """Return what a request's session may do, None where its cookie is none that has not ended."""
        told, _, signed = cookies(headers).get(COOKIE, "").rpartition(".")
        ends_at = told.partition(".")[0]
        found = None
        for known in self._granted():
            if hmac.compare_digest(self._signed(known, told).encode(), signed.encode()):
                found = known
        return found if found is not None and self._clock() < int(ends_at) else None

    def nonce(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return what a browser's forms are bound to: its cookie's, or a new one that it must be given."""
        known = cookies(headers).get(FORM_COOKIE, "")
        return known if _NONCE.fullmatch(known) else secrets.token_hex(16)

    def mark(self, nonce: str) -> str:
        """Return the mark that a form carries, which nobody can make who does not know our key."""
        return hmac.digest(self._key, b"form:" + nonce.encode(), "sha256").hex()

    def is_marked(self, headers: Iterable[tuple[bytes, bytes]], mark: str) -> bool:
        """Say whether a form comes from a page that we gave to this browser."""
        nonce = cookies(headers).get(FORM_COOKIE, "")
        return bool(_NONCE.fullmatch(nonce)) and hmac.compare_digest(self.mark(nonce).encode(), mark.encode())

    def _signed(self, known: Granted, told: str) -> str:
        key = hmac.digest(self._key, known.proof + known.name.encode(), "sha256")
        return hmac.new(key, told.encode(), hashlib.sha256).hexdigest()


def cookies(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return the cookies of a request that are ours, as they came.

    Not http.cookies: it takes a second over 30 kB of backslashes (CVE-2024-7592), and anybody may send them.
    """
    found: dict[str, str] = {}
    for header, value in headers:
        for pair in value.decode("latin-1").split(";") if header == b"cookie" else ():
            name, _, told = pair.strip().partition("=")
            if name in _OURS:
                found[name] = told
    return found
