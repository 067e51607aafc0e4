"""`audit`: who did what, when and why, and whether anybody has changed that afterwards."""

import json
import sqlite3
import sys
from pathlib import Path

import click
import msgspec

from monitor import config, partitions
from monitor.cli import client, mistakes, options, output
from monitor.document import Mistaken
from monitor.store import chain
from monitor.store.opening import SCHEMA_VERSION

FAILED = 1


@click.group(invoke_without_command=True)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many notes.")
@output.json_option
@client.url_option
@client.token_option
@click.pass_context
def audit(context: click.Context, limit: int, as_json: bool, url: str, token: str | None) -> None:
    """List who did what, the newest first, or verify that nobody has changed it since."""
    if context.invoked_subcommand is None:
        answer = client.call("GET", url, f"/v1/audit?limit={limit}", token)
        columns = ("at", "actor", "action", "target", "reason", "position")
        output.show(answer, "audit", columns, as_json, "Nothing has happened yet.")


@audit.command()
@options.config_file("Configuration of the sidecar whose store is read; it may be running.")
@click.option("--head", default="", help="One that was printed earlier: is it still in the chain?")
@output.json_option
def verify(config_file: Path, head: str, as_json: bool) -> None:
    """Walk the audit's chain of hashes; exit code 1 where a note was changed, taken out or put in."""
    try:
        source = partitions.connect(config.load(config_file).store_path, SCHEMA_VERSION)
        found = chain.verify(chain.read(source.db), head)
        source.db.close()
    except Mistaken as error:
        mistakes.end(error)
    except (partitions.UnreadableError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    elif found.broken_at is not None:
        click.echo(f"Broken at note {found.broken_at}: it, or one before it, is not what was written.", err=True)
    elif not found.is_head_known:
        click.echo(f"The chain holds no {head}: its end was cut off, or it is another store's.", err=True)
    else:
        older = f", {found.unchained} older ones are not in it" if found.unchained else ""
        click.echo(f"Whole: {found.chained} notes{older}. Head: {found.head}")
    if found.broken_at is not None or not found.is_head_known:
        sys.exit(FAILED)
