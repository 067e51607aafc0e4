"""Who may do what on the internal listener: each role may do what the ones before it may."""

import hashlib
import re
from enum import IntEnum

import msgspec


class Role(IntEnum):
    """A viewer reads; an operator acts on what stands; an admin changes what is in force, and erases."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class Granted(msgspec.Struct, frozen=True):
    """What somebody may do who knows a token (`proof` is its SHA-256) or a user's password (its bcrypt hash).

    The name stands in the audit; a token without one may be anybody's.
    """

    proof: bytes
    role: Role
    name: str = ""
    is_user: bool = False


NAME = r"[A-Za-z0-9][A-Za-z0-9@._-]{0,63}"
_READS = frozenset({"GET", "HEAD"})
_HARMLESS = frozenset({"/v1/events/seen", "/search", "/login", "/logout"})  # written to, and nothing is changed
_GRAVE = frozenset({"/-/reload", "/v1/people/forget"})
_LINE = re.compile(rf"(?:({NAME})\s+)?(?:sha256:([0-9a-fA-F]{{64}})|((?!(?i:sha256:))\S+))")


def needed(method: str, path: str) -> Role:
    """Return the least role that may make a request."""
    if method in _READS or path in _HARMLESS:
        return Role.VIEWER
    return Role.ADMIN if path in _GRAVE else Role.OPERATOR


def granted(line: str, role: Role) -> Granted:
    """Return what a line of the configuration grants: `TOKEN` or `NAME TOKEN`, the token as it is or as `sha256:HEX`.

    Raise ValueError, which repeats nothing of it, for any other line.
    """
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise ValueError("must be TOKEN or NAME TOKEN, the token without blanks or as sha256: and 64 hex digits")
    name, digest, token = found.groups()
    return Granted(bytes.fromhex(digest) if digest else proof_of(token), role, name or "")


def proof_of(token: str) -> bytes:
    """Return what a token is known by: it is random, so that a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def actor(name: str, claimed: str) -> str:
    """Return who stands in the audit: who they are known as, and as whom they say to act."""
    return claimed if not name else name if claimed in {"", name} else f"{name} as {claimed}"
