"""Commands that speak to a running sidecar: pauses, flags, resends, messages."""

import getpass
import json
import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click
import httpx2

FAILED = 1
_url = click.option(
    "--url",
    default="http://127.0.0.1:9368",
    show_default=True,
    envvar="WHATSAPP_MONITOR_URL",
    help="The sidecar's internal listener.",
)
_token = click.option(
    "--token", envvar="WHATSAPP_MONITOR_TOKEN", help="Operator token; better given as WHATSAPP_MONITOR_TOKEN."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")
_actor = click.option(
    "--actor",
    default=lambda: _me(),
    show_default="you",
    help="Who acts, for the audit.",
)
_reason = click.option("--reason", required=True, help="Why, for the audit.")


@click.group()
def pauses() -> None:
    """List, place and release pauses of outbound sending."""


@pauses.command("list")
@click.option("--all", "is_all", is_flag=True, help="Also those that are over.")
@_json
@_url
@_token
def list_pauses(is_all: bool, as_json: bool, url: str, token: str | None) -> None:
    """List the pauses in force."""
    answer = _call("GET", url, f"/v1/pauses?all={str(is_all).lower()}", token)
    columns = ("id", "scope", "scope_id", "lane", "rule", "code", "since", "until", "reason")
    _show(answer, "pauses", columns, as_json, "Nothing is paused.")


@pauses.command("add")
@click.option(
    "--scope", required=True, type=click.Choice(["all", "waba", "phone_number", "template", "country", "recipient"])
)
@click.option("--id", "scope_id", default="", help="The account's, number's or template's id.")
@click.option("--lane", default="all", show_default=True, type=click.Choice(["all", "business_initiated", "marketing"]))
@click.option("--for", "seconds", help="How long, as 30m or 2d; otherwise until someone resumes.")
@_actor
@_reason
@_json
@_url
@_token
def add_pause(
    scope: str,
    scope_id: str,
    lane: str,
    seconds: str | None,
    actor: str,
    reason: str,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Pause outbound sending."""
    ask = {"scope": scope, "scope_id": scope_id, "lane": lane, "for": seconds, "actor": actor, "reason": reason}
    answer = _call("POST", url, "/v1/pauses", token, {name: value for name, value in ask.items() if value})
    _say(answer, as_json, f"Paused: {answer['pause']['id']}")


@pauses.command()
@click.argument("pause_id")
@_actor
@_reason
@_json
@_url
@_token
def resume(pause_id: str, actor: str, reason: str, as_json: bool, url: str, token: str | None) -> None:
    """Release the pause PAUSE_ID."""
    answer = _call(
        "POST", url, f"/v1/pauses/{quote(pause_id, safe='')}/resume", token, {"actor": actor, "reason": reason}
    )
    _say(answer, as_json, f"Released: {pause_id}")


@click.group(invoke_without_command=True)
@click.option("--all", "is_all", is_flag=True, help="Also those that are resolved.")
@_json
@_url
@_token
@click.pass_context
def flags(context: click.Context, is_all: bool, as_json: bool, url: str, token: str | None) -> None:
    """List open flags, or resolve one."""
    if context.invoked_subcommand is None:
        answer = _call("GET", url, "/v1/flags" + ("" if is_all else "?open=true"), token)
        columns = ("id", "rule", "group", "evidence_count", "opened_at", "last_at", "sources")
        _show(answer, "flags", columns, as_json, "No open flags.")


@flags.command()
@click.argument("flag_id")
@_actor
@_reason
@_json
@_url
@_token
def resolve(flag_id: str, actor: str, reason: str, as_json: bool, url: str, token: str | None) -> None:
    """Close the flag FLAG_ID."""
    answer = _call(
        "POST", url, f"/v1/flags/{quote(flag_id, safe='')}/resolve", token, {"actor": actor, "reason": reason}
    )
    _say(answer, as_json, f"Resolved: {flag_id}")


@click.command()
@click.option(
    "--state", default="pending", show_default=True, help="pending, claimed, sent, dropped, superseded; empty for all."
)
@_json
@_url
@_token
def resends(state: str, as_json: bool, url: str, token: str | None) -> None:
    """List messages to send again."""
    answer = _call("GET", url, f"/v1/resends?state={quote(state)}", token)
    columns = ("id", "wamid", "phone_number_id", "code", "state", "not_before", "callback_data")
    _show(answer, "resends", columns, as_json, "Nothing to send again.")


@click.command()
@click.argument("wamid", required=False)
@click.option("--recipient", default="", help="A phone number; only its keyed hash is searched.")
@_json
@_url
@_token
def messages(wamid: str | None, recipient: str, as_json: bool, url: str, token: str | None) -> None:
    """Show the timeline of one message, or the newest messages."""
    if wamid is None:
        answer = _call("GET", url, f"/v1/messages?recipient={quote(recipient)}", token)
        columns = ("wamid", "state", "direction", "phone_number_id", "recipient", "category")
        _show(answer, "messages", columns, as_json, "No messages.")
        return
    answer = _call("GET", url, f"/v1/messages/{quote(wamid, safe='')}", token)
    if not as_json:
        click.echo(f"{answer['wamid']}: {answer['state']}")
    _show(answer, "timeline", ("timestamp", "status", "codes", "received_at"), as_json, "")


def _me() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}@{socket.gethostname()}"


def _call(method: str, url: str, path: str, token: str | None, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx2.request(method, url.rstrip("/") + path, json=body, headers=headers, timeout=10, trust_env=False)
        value: dict[str, Any] = answer.json()
    except (httpx2.HTTPError, json.JSONDecodeError, httpx2.InvalidURL) as error:
        click.echo(f"whatsapp-monitor: {url} does not answer as a sidecar: {error}", err=True)
        sys.exit(FAILED)
    if answer.is_success:
        return value
    click.echo(f"whatsapp-monitor: {value.get('message') or value.get('error')}", err=True)
    sys.exit(FAILED)


def _say(answer: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(answer, indent=2) if as_json else text)


def _show(answer: dict[str, Any], name: str, columns: tuple[str, ...], as_json: bool, nothing: str) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    rows = [[_cell(column, item.get(column)) for column in columns] for item in answer[name]]
    if not rows:
        click.echo(nothing)
        return
    titles = [column.removesuffix("_at").replace("_", " ").upper() for column in columns]
    widths = [max(len(row[number]) for row in [titles, *rows]) for number in range(len(columns))]
    for row in [titles, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if answer.get("next_cursor"):
        click.echo(f"(more: the API's cursor={answer['next_cursor']})")


def _cell(column: str, value: Any) -> str:
    if isinstance(value, int | float) and column in {
        "since",
        "until",
        "opened_at",
        "last_at",
        "not_before",
        "timestamp",
        "received_at",
    }:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, dict):
        return " ".join(f"{name}={_cell('', inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "-" if value is None or value == "" else str(value)
