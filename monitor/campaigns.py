"""Which campaign a message belongs to, and what its messages came to."""

import functools
import json
import re
from collections.abc import Mapping

import jsonpath_rfc9535
import msgspec
import re2
from jsonpath_rfc9535 import JSONPathError, JSONPathQuery

from monitor import codes
from monitor.codes import Catalogue
from monitor.messages import PRESUMED_EXPIRED, Message

NAME_MOST = 64
GIVEN, CALLBACK, TEMPLATE = 3, 2, 1  # where a name came from: the higher wins, whichever came first
ARRIVED = frozenset({"delivered", "read", "played"})
SENT = ARRIVED | {"sent", "failed", PRESUMED_EXPIRED}
READ = frozenset({"read", "played"})
HEADINGS = ("messages", "sent", "delivered", "read", "replied", "failed", PRESUMED_EXPIRED)
_UNSAFE = re.compile(r"[^\w .:/@+-]", re.ASCII)


class Naming(msgspec.Struct, frozen=True):
    """How a campaign's name is found: a JSON path (RFC 9535) or a regex (RE2, its first group) over callback data.

    `by_template` takes the template's name where nothing else names one.
    """

    path: str = ""
    regex: str = ""
    by_template: bool = True


NO_NAMING = Naming(by_template=False)


def name(naming: Naming, given: str, callback_data: str, template: str) -> tuple[int, str]:
    """Return the rank of the source and the campaign's name; 0 and empty for none."""
    if given:
        return GIVEN, _clean(given)
    found = _of_callback(naming, callback_data) if callback_data else ""
    if found:
        return CALLBACK, _clean(found)
    if naming.by_template and template:
        return TEMPLATE, _clean(template)
    return 0, ""


def named(naming: Naming, message: Message, given: str = "") -> Message:
    """Return the message with its campaign's name, where a source of a higher rank than before gives one."""
    rank, campaign = name(naming, given, message.callback_data, message.template)
    if rank < message.campaign_rank or campaign in {"", message.campaign}:
        return message
    if rank == message.campaign_rank:
        campaign = max(campaign, message.campaign)
    return msgspec.structs.replace(message, campaign=campaign, campaign_rank=rank)


def reach(known: Catalogue, message: Message) -> frozenset[str]:
    """Return under which headings a message counts: a function of its steps alone, so that order does not matter."""
    names = {step.status for step in message.steps}
    headings = {"messages"}
    if names & SENT:
        headings.add("sent")
    if names & ARRIVED:
        headings.add("delivered")
    if names & READ:
        headings.add("read")
    if message.replied_at is not None:
        headings.add("replied")
    if message.state == "failed":
        headings |= {"failed", f"failed_{_failure(known, message)}"}
    if message.state == PRESUMED_EXPIRED:
        headings.add(PRESUMED_EXPIRED)
    if message.billable:
        headings.add(f"{'billable' if message.billable == 'true' else 'free'}_{message.category or 'unknown'}")
    return frozenset(headings)


def counted(known: Catalogue, before: Message | None, message: Message) -> dict[tuple[str, str], int]:
    """Return what a message's change adds to and takes from each campaign's headings."""
    if before is not None and before.campaign == message.campaign:
        if not message.campaign:
            return {}
        old, new = reach(known, before), reach(known, message)
        return {
            **{(message.campaign, heading): 1 for heading in new - old},
            **{(message.campaign, heading): -1 for heading in old - new},
        }
    counts: dict[tuple[str, str], int] = {}
    if before is not None and before.campaign:
        counts.update({(before.campaign, heading): -1 for heading in reach(known, before)})
    if message.campaign:
        counts.update({(message.campaign, heading): 1 for heading in reach(known, message)})
    return counts


def rates(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Return shares: delivered and failed of sent, read and replied of delivered; None where nothing can be divided."""

    def share(part: str, whole: str) -> float | None:
        return counts.get(part, 0) / counts[whole] if counts.get(whole) else None

    return {
        "delivered": share("delivered", "sent"),
        "failed": share("failed", "sent"),
        "read": share("read", "delivered"),
        "replied": share("replied", "delivered"),
    }


def compiles(path: str) -> str:
    """Return why a JSON path can't be used, empty where it can."""
    try:
        _query(path)
    except JSONPathError as error:
        return str(error)
    except (ValueError, OverflowError, RecursionError) as error:  # numbers without end, brackets without number
        return f"can't be read: {error}"
    return ""


def _failure(known: Catalogue, message: Message) -> str:
    failed = [(step.occurred_at, step.codes) for step in message.steps if step.status == "failed"]
    code = next((codes.find(known, found[0]) for _, found in sorted(failed) if found), None)
    return code.kind if code is not None else "other"


def _of_callback(naming: Naming, callback_data: str) -> str:
    if naming.path:
        try:
            node = _query(naming.path).find_one(json.loads(callback_data))
        except (ValueError, RecursionError, JSONPathError):
            return ""
        value = node.value if node is not None else None
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if naming.regex:
        found = re2.search(naming.regex, callback_data)
        if found is None:
            return ""
        return str(found[1] if found.groups() and found[1] is not None else found[0])
    return ""


def _clean(found: str) -> str:
    return _UNSAFE.sub("_", found.strip())[:NAME_MOST]


@functools.lru_cache(16)
def _query(path: str) -> JSONPathQuery:
    return jsonpath_rfc9535.compile(path)
