"""`export`: journal and messages as Parquet."""

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import click

from monitor import config, partitions
from monitor import export as exports
from monitor.cli import mistakes, options, output
from monitor.document import Mistaken
from monitor.export import ExportError, Options
from monitor.partitions import TABLES, Partition, UnreadableError
from monitor.store.opening import SCHEMA_VERSION

FAILED, WRONG = 1, 2
_day = click.DateTime(formats=["%Y-%m-%d"])


@click.command()
@options.config_file("Configuration file, which says where the store is.")
@click.option("--format", "form", type=click.Choice(["parquet"]), default="parquet", show_default=True, help="Form.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Directory to write to.")
@click.option("--table", type=click.Choice([*TABLES, "all"]), default="all", show_default=True, help="What to export.")
@click.option("--since", type=_day, help="First day, in UTC.")
@click.option("--until", type=_day, help="Last day, in UTC.")
@click.option(
    "--with-bodies",
    is_flag=True,
    help="Also Meta's own bytes, in which phone numbers and texts stand; left out otherwise.",
)
@output.json_option
def export(
    config_file: Path,
    form: str,
    out: Path,
    table: str,
    since: datetime | None,
    until: datetime | None,
    with_bodies: bool,
    as_json: bool,
) -> None:
    """Write journal and messages as Parquet, partitioned by day; run again, it writes what is new."""
    if importlib.util.find_spec("pyarrow") is None:
        click.echo(f"whatsapp-monitor: {form} needs the export extra: pip install 'whatsapp-monitor[export]'", err=True)
        sys.exit(WRONG)
    options = Options(
        TABLES if table == "all" else (table,),
        since.date() if since is not None else None,
        until.date() if until is not None else None,
        with_bodies,
    )
    waiting: list[Partition] = []
    try:
        source = partitions.connect(config.load(config_file).store_path, SCHEMA_VERSION)
        with closing(source.db), output.progress("exporting", 1) as bar:

            def begin(found: Sequence[Partition]) -> None:
                waiting.extend(found)
                bar.length = sum(partition.rows for partition in found)

            counts = exports.run(source, out, options, lambda partition: bar.update(partition.rows), begin)
    except Mistaken as error:
        mistakes.end(error)
    except (ExportError, UnreadableError, OSError) as error:
        click.echo(f"whatsapp-monitor: {error}", err=True)
        sys.exit(FAILED)
    told = ", ".join(f"{name}: {count} rows" for name, count in counts.items()) + f" in {len(waiting)} partitions"
    output.say({"rows": counts, "partitions": len(waiting)}, as_json, told)
