"""Who may do what on the internal listener: a token has a role, and each role may do what the ones before it may."""

from enum import IntEnum

import msgspec

from monitor.secrets import Secret


class Role(IntEnum):
    """A viewer reads; an operator acts on what stands; an admin changes what is in force, and erases."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class Granted(msgspec.Struct, frozen=True):
    """A token, and what whoever knows it may do."""

    secret: Secret
    role: Role


_READS = frozenset({"GET", "HEAD"})
_HARMLESS = frozenset({"/v1/events/seen", "/search", "/login", "/logout"})  # written to, and nothing is changed
_GRAVE = frozenset({"/-/reload", "/v1/people/forget"})


def needed(method: str, path: str) -> Role:
    """Return the least role that may make a request."""
    if method in _READS or path in _HARMLESS:
        return Role.VIEWER
    return Role.ADMIN if path in _GRAVE else Role.OPERATOR
