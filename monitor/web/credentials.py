"""Telling who somebody is by what they know: a token, or a name and a password."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from monitor import roles
from monitor.attempts import Attempts
from monitor.roles import Granted

PASSWORD_BYTES_MOST = 72  # bcrypt looks at no more
KNOWN_MOST = 1_024
CHECKS_MOST = 10  # passwords that wait for bcrypt
BUSY_SECONDS = 1


class Credentials:
    """What is granted may change while we run. A password that was found right is not asked bcrypt for again."""

    def __init__(self, granted: Callable[[], Sequence[Granted]]) -> None:
        self.granted = granted
        self._checking = ThreadPoolExecutor(1, "passwords")  # one at a time: guesses must not take the machine
        self._salt = secrets.token_bytes(32)
        self._known: dict[bytes, None] = {}
        self._checks: dict[bytes, asyncio.Future[bool]] = {}
        self._nobody = bcrypt.hashpw(b"nobody", bcrypt.gensalt(10))

    def of_token(self, claimed: str) -> Granted | None:
        """Return what a token grants, the most where it stands several times; None for nobody's."""
        proof, found = roles.proof_of(claimed.strip()), None
        for one in self.granted():
            is_it = hmac.compare_digest(one.proof, proof) and not one.is_user
            if is_it and (found is None or one.role > found.role):
                found = one
        return found

    def known(self, name: str, password: str) -> Granted | None:
        """Return a user whose password was found right before, which takes no time."""
        user = self._user(name)
        return user if user is not None and self._remembered(user, password) in self._known else None

    @property
    def is_busy(self) -> bool:
        """Whether so many passwords wait to be looked at that no other one should."""
        return len(self._checks) >= CHECKS_MOST

    async def of_user(self, name: str, password: str) -> Granted | None:
        """Return a user who knows the password, None for anybody else; both take as long.

        Who says the same at the same time waits for the same answer.
        """
        user, given = self._user(name), password.encode("utf-8", "surrogateescape")
        proof = self._nobody if user is None else user.proof
        is_sane = len(given) <= PASSWORD_BYTES_MOST and b"\0" not in given
        told = self._digest(proof, f"{name}:{password}")
        check = self._checks.get(told)
        if check is None:
            loop = asyncio.get_running_loop()
            check = loop.run_in_executor(self._checking, bcrypt.checkpw, given if is_sane else b"", proof)
            self._checks[told] = check
            check.add_done_callback(lambda _: self._checks.pop(told))
        is_right = await asyncio.shield(check)
        if user is None or not is_right or not is_sane:
            return None
        self._known[self._remembered(user, password)] = None
        if len(self._known) > KNOWN_MOST:
            del self._known[next(iter(self._known))]
        return user

    async def tried(self, attempts: Attempts, address: str, guess: bytes, name: str, password: str) -> Granted | None:
        """Return a user who knows the password; a guess counts before it is looked at, and no longer once it was right.

        So those that come at once count like those in turn.
        """
        attempts.begun(address, guess)
        found = await self.of_user(name, password)
        if found is not None:
            attempts.right(address, guess)
        return found

    def _user(self, name: str) -> Granted | None:
        return next((one for one in self.granted() if one.is_user and one.name == name), None)

    def _remembered(self, user: Granted, password: str) -> bytes:
        return self._digest(user.proof, password)

    def _digest(self, proof: bytes, told: str) -> bytes:
        said = proof + told.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(said, key=self._salt, digest_size=32).digest()


def basic(claimed: str) -> tuple[str, str] | None:
    """Return name and password of a header's value after `Basic`, None where it is none."""
    try:
        name, colon, password = base64.b64decode(claimed.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
