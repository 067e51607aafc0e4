"""An incident as a report in Markdown: what happened when, on which evidence, what was done, and to what traffic."""

from collections.abc import Mapping, Sequence

import msgspec

from monitor import codes, durations, scalars
from monitor.actions import Alert, AuditEntry, Incident, Pause
from monitor.codes import Catalogue

AROUND_SECONDS = 3600.0  # before and after: what traffic is compared with
STATES = ("sent", "delivered", "read", "failed", "presumed_expired")


class Volume(msgspec.Struct, frozen=True):
    """Messages of an account that were sent within a time, by how far they have come since."""

    title: str
    since: float
    until: float
    counts: Mapping[str, int]


class Told(msgspec.Struct, frozen=True):
    """All that a report is made of; `ended_at` is None while the incident lasts."""

    incident: Incident
    ended_at: float | None
    pauses: Sequence[Pause]
    alerts: Sequence[Alert]
    notes: Sequence[AuditEntry]
    volumes: Sequence[Volume]


def written(told: Told, catalogue: Catalogue, at: float) -> str:
    """Return the report as of `at`."""
    parts = [_head(told, at), _witnesses(told, catalogue), _actions(told), _notes(told), _traffic(told)]
    return "\n".join(line for part in parts for line in (*part, ""))


def _head(told: Told, at: float) -> list[str]:
    incident, until = told.incident, told.ended_at
    lasted = durations.text((at if until is None else until) - incident.opened_at)
    end = "It lasts." if until is None else f"It ended at {_time(until)}."
    if incident.closed_by:
        end += f" Closed by {_text(incident.closed_by)}: {_text(incident.close_reason)}."
    account = _text(incident.waba_id or incident.phone_number_id)
    return [
        f"# Incident {incident.id}",
        "",
        f"Meta restricted account {account} from {_time(incident.opened_at)} on, for {lasted}. {end}",
        "",
        f"Written at {_time(at)}. Times are UTC; people are keyed hashes.",
    ]


def _witnesses(told: Told, catalogue: Catalogue) -> list[str]:
    lines = ["## Who told of it", "", "| where | first heard | Meta's own time | times |", "|---|---|---|---|"]
    lines += [
        f"| {one.origin} | {_time(one.received_at)} | {_time(one.occurred_at)} | {one.count} |"
        for one in told.incident.witnesses
    ]
    for number in told.incident.codes:
        code = codes.find(catalogue, number)
        lines += ["", f"Code {number}: {code.title}. {code.advice}" if code is not None else f"Code {number}."]
    for restriction in told.incident.restrictions:
        end = "no end told" if restriction.until is None else f"until {_time(restriction.until)}"
        lines += ["", f"Restriction {_text(restriction.restriction)}, {end}."]
    return lines


def _actions(told: Told) -> list[str]:
    done = [*map(_pause, told.pauses), *map(_alert, told.alerts)]
    return ["## What was done", "", *(done or ["Nothing: no rule acts on this."])]


def _pause(pause: Pause) -> str:
    until = pause.released_at or pause.until
    end = f"until {_time(until)}" if until is not None else "and lasts"
    by = f", released by {_text(pause.released_by)}: {_text(pause.release_reason)}" if pause.released_by else ""
    wamids = [_text(one.wamid) for one in pause.evidence if one.wamid]
    shown = f", among them {', '.join(wamids)}" if wamids else ""
    what = f"{pause.scope} {_text(pause.scope_id)}, lane {pause.lane}"
    return (
        f"- Pause {pause.id} by {_text(pause.actor)} of {what}, from {_time(pause.since)} {end}{by}. "
        f"Evidence: {pause.evidence_count} event(s){shown}."
    )


def _alert(alert: Alert) -> str:
    of = f"{_text(alert.rule)} ({alert.severity})"
    return f"- Alert {alert.id} of {of} from {_time(alert.since)}: {alert.evidence_count} event(s)."


def _notes(told: Told) -> list[str]:
    lines = ["## Timeline", "", "| time | who | what | why |", "|---|---|---|---|"]
    lines += [
        f"| {_time(one.at)} | {_text(one.actor)} | {_text(one.action)} {_text(one.target)} | {_text(one.reason)} |"
        for one in sorted(told.notes, key=lambda one: one.at)
    ]
    return lines


def _traffic(told: Told) -> list[str]:
    rule = "|---|---|---|" + "---|" * len(STATES)
    lines = ["## Traffic of the account", "", f"| | from | messages | {' | '.join(STATES)} |", rule]
    for one in told.volumes:
        counts = " | ".join(str(one.counts.get(state, 0)) for state in STATES)
        title = f"{one.title} ({durations.text(one.until - one.since)})"
        lines.append(f"| {title} | {_time(one.since)} | {sum(one.counts.values())} | {counts} |")
    return lines


def _time(seconds: float) -> str:
    return scalars.moment(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _text(value: str) -> str:
    """Return a value as it can stand in a table's cell."""
    plain = "".join(one if one.isprintable() else " " for one in value)
    for mark in "\\`*_<>[]|":
        plain = plain.replace(mark, f"\\{mark}")
    return plain
