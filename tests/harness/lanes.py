"""The table of docs/http.md: what is answered in each lane by whom, whatever has failed."""

from dataclasses import dataclass
from enum import StrEnum

LANES: dict[str, tuple[dict[str, str], ...]] = {
    "marketing": ({"category": "marketing"},),
    "utility, authentication": ({"category": "utility"}, {"category": "authentication"}),
    "replies": ({"category": "service"}, {"kind": "free_form"}),
    "nothing said": ({},),
}
DEFAULT = {"marketing": "deny", "business_initiated": "deny", "all": "deny"}
OPENED = {"marketing": "deny", "business_initiated": "allow", "all": "allow"}
POLICIES = {"default": DEFAULT, "opened": OPENED}
OPENED_LANES = frozenset({"utility, authentication", "replies"})  # nothing said may be any of them


class Told(StrEnum):
    """What a row says."""

    STANDS = "as it stands"
    ON_ERROR = "on_error"
    SILENT = "no answer"
    FORGOTTEN = "allowed"
    CLOSED = "500"
    OPEN = "all allowed"


@dataclass(frozen=True)
class Row:
    """One fault as it shows to one of those who are asked; `reason` is what `gate.on_error` is named with."""

    asked: str
    fault: str
    told: Told
    reason: str = ""

    @property
    def name(self) -> str:
        """How tests call it."""
        return f"{self.asked}: {self.fault}"


GATE, PROXY, FOLLOWER, NGINX, NGINX_OPEN = "gate", "proxy", "follower", "`gate.conf`", "`gate-open.conf`"
ROWS = (
    Row(GATE, "what stands is not loaded yet", Told.ON_ERROR, "not_ready"),
    Row(GATE, "its own code fails", Told.ON_ERROR, "gate_failed"),
    Row(GATE, "the store is locked by a stranger", Told.STANDS),
    Row(GATE, "the store's disk is full", Told.STANDS),
    Row(GATE, "the store's file was moved away", Told.STANDS),
    Row(GATE, "accepted webhooks have not taken effect yet", Told.STANDS),
    Row(GATE, "Alertmanager, forwards and collector are dead", Told.STANDS),
    Row(GATE, "the store is new and empty", Told.FORGOTTEN),
    Row(GATE, "the store fails: it ends", Told.SILENT),
    Row(GATE, "the store's disk turns read-only: it ends", Told.SILENT),
    Row(GATE, "dead", Told.SILENT),
    Row(GATE, "stopped, or too slow", Told.SILENT),
    Row(PROXY, "what stands is not loaded yet", Told.ON_ERROR, "not_ready"),
    Row(PROXY, "its own code fails", Told.ON_ERROR, "gate_failed"),
    Row(PROXY, "the store is locked by a stranger", Told.STANDS),
    Row(FOLLOWER, "the sidecar was never reached", Told.ON_ERROR, "not_connected"),
    Row(FOLLOWER, "what stands is not loaded yet", Told.ON_ERROR, "not_connected"),
    Row(FOLLOWER, "dead for longer than `stale_seconds`", Told.ON_ERROR, "stale"),
    Row(FOLLOWER, "stopped for longer than `stale_seconds`", Told.ON_ERROR, "stale"),
    Row(FOLLOWER, "dead, where only it can tell", Told.ON_ERROR, "unreachable"),
    Row(FOLLOWER, "dead for a moment", Told.STANDS),
    Row(FOLLOWER, "the gate's own code fails", Told.STANDS),
    Row(FOLLOWER, "the store is locked by a stranger", Told.STANDS),
    Row(FOLLOWER, "the store is new and empty", Told.FORGOTTEN),
    Row(NGINX, "what stands is not loaded yet", Told.ON_ERROR, "not_ready"),
    Row(NGINX, "its own code fails", Told.ON_ERROR, "gate_failed"),
    Row(NGINX, "dead", Told.CLOSED),
    Row(NGINX, "stopped, or too slow", Told.CLOSED),
    Row(NGINX_OPEN, "dead", Told.OPEN),
    Row(NGINX_OPEN, "stopped, or too slow", Told.OPEN),
)


def is_open(lane: str, policy: str) -> bool:
    """Say whether `gate.on_error` allows a lane."""
    return policy == "opened" and lane in OPENED_LANES


def documented() -> list[str]:
    """Return the table as the document has it."""
    lines = [
        f"| asked | what has failed | {' | '.join(LANES)} | reason |",
        "|---" * (len(LANES) + 3) + "|",
    ]
    for row in ROWS:
        cells = [_cell(row, lane) for lane in LANES]
        lines.append(f"| {row.asked} | {row.fault} | {' | '.join(cells)} | {f'`{row.reason}`' if row.reason else ''} |")
    return lines


def _cell(row: Row, lane: str) -> str:
    if row.told != Told.ON_ERROR:
        return "allowed" if row.told == Told.OPEN else row.told
    return "denied / allowed" if is_open(lane, "opened") else "denied"
