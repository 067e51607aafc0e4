"""`incidents export`: one incident as a report in Markdown, read beside a running sidecar."""

import sqlite3
import time
from pathlib import Path

import click

from monitor import config, incidents, partitions, reports
from monitor.actions import Incident
from monitor.cli import mistakes, options
from monitor.document import Mistaken
from monitor.reports import AROUND_SECONDS, Told, Volume
from monitor.store import queries
from monitor.store.opening import SCHEMA_VERSION


@click.command()
@click.argument("incident_id")
@options.config_file("Configuration of the sidecar whose store is read; it may be running.")
def export(incident_id: str, config_file: Path) -> None:
    """Print a report on the incident INCIDENT_ID, in Markdown: evidence, actions, timeline and traffic."""
    try:
        loaded = config.load(config_file)
        source = partitions.connect(loaded.store_path, SCHEMA_VERSION)
        told = _told(source.db, incident_id, time.time())
        source.db.close()
    except Mistaken as error:
        mistakes.end(error)
    except (partitions.UnreadableError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from None
    if told is None:
        raise click.ClickException(f"there is no incident {incident_id}; `whatsapp-monitor incidents` lists them")
    click.echo(reports.written(told, loaded.catalogue(), time.time()), nl=False)


def _told(db: sqlite3.Connection, incident_id: str, now: float) -> Told | None:
    incident = queries.incident(db, incident_id)
    if incident is None:
        return None
    pauses = queries.pauses_of(db, incident_id)
    ended_at = incidents.ended_at(incident, {pause.id: pause for pause in pauses}, now)
    until = now if ended_at is None else ended_at
    alerts = queries.alerts_of(db, frozenset(pause.id for pause in pauses), incident.opened_at, until)
    notes = queries.notes(db, incident.opened_at - AROUND_SECONDS, until + AROUND_SECONDS)
    return Told(incident, ended_at, pauses, alerts, notes, _volumes(db, incident, until, now))


def _volumes(db: sqlite3.Connection, incident: Incident, until: float, now: float) -> list[Volume]:
    spans = [
        ("before", incident.opened_at - AROUND_SECONDS, incident.opened_at),
        ("during", incident.opened_at, until),
        ("after", until, min(now, until + AROUND_SECONDS)),
    ]
    return [
        Volume(title, since, end, queries.volume(db, incident.waba_id, since, end))
        for title, since, end in spans
        if end > since
    ]
