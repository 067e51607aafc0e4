"""`replay`: webhooks that were recorded, posted again to a sidecar's public listener."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import click
import httpx2
import msgspec

from monitor import partitions, signature
from monitor.cli import output
from monitor.partitions import UnreadableError
from monitor.store.opening import SCHEMA_VERSION
from monitor.store.protocol import WEBHOOK

FAILED = 1
ENTRIES_AT_ONCE = 500


class Recorded(msgspec.Struct, frozen=True):
    """A webhook's body, with Meta's signature where that was recorded too."""

    body: bytes
    signature: str = ""


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--journal",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A sidecar's monitor.db, which may be in use: its deliveries, with the signatures that Meta gave them.",
)
@click.option("--webhook", default="http://127.0.0.1:8368/webhook", show_default=True, help="Where to post.")
@click.option(
    "--secret",
    envvar="META_APP_SECRET",
    help="The app secret to sign with; better given as META_APP_SECRET. A journal's signatures are kept without it.",
)
@click.option("--rate", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Webhooks per second.")
@output.json_option
def replay(
    files: tuple[Path, ...], journal: Path | None, webhook: str, secret: str | None, rate: int, as_json: bool
) -> None:
    """Post webhooks again: bodies in FILES (one a file, or one a line), or all that a journal holds.

    They go through the public listener like Meta's own: what the sidecar knows already changes nothing, and what is
    older than a rule's max_age does not pause. Exit code 1 where one was refused.
    """
    if bool(files) == (journal is not None):
        raise click.UsageError("give either FILES or --journal")
    if files and not secret:
        raise click.UsageError("--secret is needed to sign what is in FILES")
    try:
        found = _of_journal(journal) if journal is not None else _of_files(files)
        counts = _posted(found, webhook, secret, rate, None if files else _count(journal))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        click.echo(f"whatsapp-monitor: {webhook} does not answer: {type(error).__name__}", err=True)
        sys.exit(FAILED)
    except (UnreadableError, OSError, ValueError) as error:
        click.echo(f"whatsapp-monitor: {error}", err=True)
        sys.exit(FAILED)
    told = ", ".join(f"{count} answered {status}" for status, count in sorted(counts.items())) or "Nothing to post."
    output.say({str(status): count for status, count in counts.items()}, as_json, told)
    if set(counts) - {200}:
        sys.exit(FAILED)


def _posted(
    found: Iterable[Recorded], webhook: str, secret: str | None, rate: int, length: int | None
) -> dict[int, int]:
    """Post in their order and return how many were answered with which status."""
    counts: dict[int, int] = {}
    started_at = time.monotonic()
    with (
        httpx2.Client(timeout=30, trust_env=False) as client,
        output.progress("replaying", length, found) as bar,
    ):
        for number, one in enumerate(bar):
            time.sleep(max(0.0, started_at + number / rate - time.monotonic()))
            signed = signature.sign(one.body, secret.encode()) if secret else one.signature
            headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signed}
            status = client.post(webhook, content=one.body, headers=headers).status_code
            counts[status] = counts.get(status, 0) + 1
    return counts


def _of_files(files: Iterable[Path]) -> Iterator[Recorded]:
    """Yield the body of each file, or those of its lines where the whole is no JSON; raise ValueError for neither."""
    for file in files:
        whole = file.read_bytes()
        bodies = [whole] if _is_json(whole) else [line for line in whole.splitlines() if line.strip()]
        for number, body in enumerate(bodies, 1):
            if not _is_json(body):
                raise ValueError(f"{file}:{number}: neither a JSON document nor one a line")
            yield Recorded(body)


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _of_journal(journal: Path) -> Iterator[Recorded]:
    source = partitions.connect(journal, SCHEMA_VERSION)
    with closing(source.db):
        after = 0
        while entries := partitions.entries(source, 0.0, after, ENTRIES_AT_ONCE):
            after = entries[-1].position
            yield from (Recorded(entry.body, entry.signature) for entry in entries if entry.kind == WEBHOOK)


def _count(journal: Path | None) -> int | None:
    if journal is None:
        return None
    source = partitions.connect(journal, SCHEMA_VERSION)
    with closing(source.db):
        return partitions.entry_count(source, 0.0)
