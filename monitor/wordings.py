"""What an alert says: how much, since when, from where, what to do, and where to look."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from monitor import durations, pseudonyms
from monitor.actions import GROUPED, Alert

TRACE_ID = "{trace_id}"
RESEND_SECONDS = 30.0  # how often a firing alert is sent again; Alertmanager wants it within its resolve_timeout
LASTING = 4  # an alert that is not sent again ends after this many resend intervals


class Links(msgspec.Struct, frozen=True):
    """Where an alert leads: the status page, a dashboard and a trace, whose URL holds TRACE_ID; empty for none."""

    page: str
    dashboard: str = ""
    trace: str = ""
    hash_key: bytes = b""


class Told(msgspec.Struct, frozen=True):
    """An alert as it is told: labels tell neither replicas nor messages apart; `ended_at` is None while it lasts."""

    alert: Alert
    labels: dict[str, str]
    annotations: dict[str, str]
    ended_at: float | None
    page: str

    @property
    def state(self) -> str:
        """What Alertmanager calls it: firing or resolved."""
        return "firing" if self.ended_at is None else "resolved"

    @property
    def id(self) -> str:
        """What stays the same however often this is sent: a receiver may tell a second copy by it."""
        return f"{self.alert.id}-{self.state}-{self.alert.sequence}"

    @property
    def title(self) -> str:
        """Return its one line, as [FIRING] or [RESOLVED] with the summary."""
        return f"[{self.state.upper()}] {self.alert.summary}"


def of(alert: Alert, ended_at: float | None, links: Links) -> Told:
    """Return what is told of an alert that ended at a time, or lasts."""
    told = [f"{alert.evidence_count} event(s) since {time(alert.since)[:19]}Z", f"rule {alert.rule}"]
    told += [f"code {alert.code}"] if alert.code is not None else []
    told += [f"most of them: {alert.source}"] if alert.source else []
    told += ["one alert for many, since the rule raises so many at once"] if GROUPED in alert.labels else []
    told += [f"over after {durations.text(ended_at - alert.since)}"] if ended_at is not None else []
    annotations = {"summary": alert.summary, "description": "; ".join(told) + ".", "status_url": _page(alert, links)}
    if alert.pause_ids:
        annotations["pause"] = ", ".join(alert.pause_ids)
        annotations["release"] = f"whatsapp-monitor pauses resume {alert.pause_ids[0]} --actor NAME --reason TEXT"
    if alert.runbook:
        annotations["runbook_url"] = alert.runbook
    if links.dashboard:
        annotations["dashboard_url"] = links.dashboard
    if alert.flag_id:
        annotations["flag"] = alert.flag_id
    if alert.wamid:
        annotations["trace_id"] = f"{pseudonyms.trace_id(links.hash_key, alert.wamid):032x}"
        if links.trace:
            annotations["trace_url"] = links.trace.replace(TRACE_ID, annotations["trace_id"])
    labels = {**alert.labels, **({} if alert.code is None else {"code": str(alert.code)})}
    return Told(alert, labels, annotations, ended_at, links.page)


def record(told: Told, now: float) -> dict[str, Any]:
    """Return an alert as Alertmanager's API takes it: endsAt always stands beside startsAt."""
    ends_at = now + LASTING * RESEND_SECONDS if told.ended_at is None else told.ended_at
    return {
        "labels": told.labels,
        "annotations": told.annotations,
        "startsAt": time(told.alert.since),
        "endsAt": time(ends_at),
        "generatorURL": told.page,
    }


def time(seconds: float) -> str:
    """Return a time as RFC 3339 writes it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _page(alert: Alert, links: Links) -> str:
    """Return the status page's own page of the pause or flag that the alert is about, else the status page."""
    page = links.page.rstrip("/")
    if alert.pause_ids:
        return f"{page}/pauses/{alert.pause_ids[-1]}"
    return f"{page}/flags/{alert.flag_id}" if alert.flag_id else links.page
