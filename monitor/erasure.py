"""A person taken out of a webhook body: what concerns nobody else goes, what concerns others stays."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from monitor.scalars import dictionaries

_PAIRS = (  # of one person
    ("wa_id", "user_id"), ("from", "from_user_id"), ("recipient_id", "recipient_user_id"),
    ("recipient_participant_id", "recipient_participant_user_id"),
)  # fmt: skip


_FRAME = frozenset({"messaging_product", "metadata"})


class Erased(msgspec.Struct, frozen=True):
    """The body without the person, None where nothing is left; `ids` are all texts that named the person in it."""

    body: bytes | None
    ids: frozenset[str]


def erase(body: bytes, ids: Iterable[str]) -> Erased | None:
    """Return the body without the objects that name the person by one of `ids`; None where it names them nowhere."""
    gone = frozenset(ids)
    if not any(one.encode() in body for one in gone):
        return None
    try:
        return _without(json.loads(body.decode("utf-8", "replace")), gone)
    except (ValueError, RecursionError):
        return Erased(None, gone)  # it can't be read, so nothing of it can be kept apart


def _without(root: Any, gone: frozenset[str]) -> Erased | None:
    """Return what is left of a body; raise RecursionError where it is too deep to be taken apart."""
    walk = _Walk(gone)
    before = root
    is_named, root = walk.walk(root)
    while walk.found - walk.gone:  # a person's other id may stand in an object that does not name the first one
        walk = _Walk(walk.gone | walk.found)
        is_named_too, root = walk.walk(root)
        is_named = is_named or is_named_too
    if not is_named and root == before:
        return None  # a longer number that holds this one is somebody else's
    if is_named or not _says_something(root):
        return Erased(None, walk.gone)
    return Erased(json.dumps(root, separators=(",", ":")).encode(), walk.gone)


class _Walk:
    def __init__(self, gone: frozenset[str]) -> None:
        self.gone = gone
        self.found: frozenset[str] = frozenset()

    def walk(self, node: Any) -> tuple[bool, Any]:
        """Return whether the node names the person itself, and the node without list items that do."""
        if isinstance(node, str):
            return node in self.gone, node
        if isinstance(node, list):
            kept = [inner for is_named, inner in map(self.walk, node) if not is_named]
            return False, kept
        if not isinstance(node, dict):
            return False, node
        walked = {key: self.walk(inner) for key, inner in node.items()}
        is_named = any(named for named, _ in walked.values()) or not self.gone.isdisjoint(node)
        for pair in _PAIRS:
            ids = {node[key] for key in pair if isinstance(node.get(key), str) and node[key]}
            if ids & self.gone:
                self.found |= ids
        return is_named, {key: inner for key, (_, inner) in walked.items()}


def _says_something(root: Any) -> bool:
    """Say whether a change is left that holds more than its frame."""
    entries = dictionaries(root.get("entry")) if isinstance(root, dict) else []
    values = [change.get("value") for entry in entries for change in dictionaries(entry.get("changes"))]
    return any(
        not isinstance(value, dict) or any(inner for key, inner in value.items() if key not in _FRAME)
        for value in values
    )
