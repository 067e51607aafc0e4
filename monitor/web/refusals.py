"""Refusals of the proxy's own, in the form in which Graph writes errors."""

import msgspec

from monitor import sends
from monitor.duplicates import Earlier
from monitor.gate import Verdict
from monitor.upstream import Headers, UpstreamError
from monitor.web.gate import reason_of

DUPLICATE = 506
LIMITS = {"usage_account": 80007, "usage_app": 4}  # Graph's own codes for what is used up
_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode


def paused(verdict: Verdict) -> tuple[int, Headers, bytes]:
    """Answer as Graph does where it refuses, with the code that caused the pause; 429 for what only came too fast."""
    code = verdict.pause.code if verdict.pause is not None else None
    status, shown = (429, LIMITS.get(verdict.reason, 130429)) if is_passing(verdict) else (403, 368)
    retry = str(verdict.retry_after_seconds or 1).encode()
    headers = [(b"retry-after", retry), (b"x-gate-reason", reason_of(verdict).encode())]
    return refusal(status, shown if code is None else code, verdict.reason, reason_of(verdict), headers)


def repetition(earlier: Earlier) -> tuple[int, Headers, bytes]:
    """Refuse what was sent before; the code is Graph's own for it."""
    told = f"the same message was sent to the same person {earlier.gap_seconds:.1f} s ago"
    headers = [(b"x-gate-reason", f"duplicate; trigger={earlier.trigger}; first={earlier.wamid}".encode())]
    return refusal(409, DUPLICATE, "duplicate", f"{told} {earlier.wamid}".rstrip(), headers)


def is_passing(verdict: Verdict) -> bool:
    """Say whether it is only a matter of a little waiting: a limit, or one person who got too much at once."""
    is_pair = verdict.pause is not None and verdict.pause.scope == "pair"
    return verdict.share is not None or bool(verdict.limits) or is_pair


def unanswered(error: UpstreamError) -> tuple[int, Headers, bytes]:
    """Answer in the place of a Graph that did not."""
    status = 504 if error.reason == "timeout" else 502
    told = "Graph did not answer in time" if error.reason == "timeout" else f"Graph could not be asked: {error.reason}"
    return refusal(status, 2, error.reason, told)  # 2: Graph's own code for a service that is down for now


def refusal(status: int, code: int, reason: str, told: str, headers: Headers = ()) -> tuple[int, Headers, bytes]:
    """Return an answer of our own in Graph's form."""
    error = {
        "message": f"whatsapp-monitor: {told}",
        "type": sends.OWN_TYPE,
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": reason},
        "is_transient": status not in {400, 409, 413, 422},
    }
    body = _encode({"error": error})
    return status, [_JSON, (b"content-length", str(len(body)).encode()), *headers], body
