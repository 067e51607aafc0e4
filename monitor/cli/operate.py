"""Commands that act on what stands in a running sidecar: pauses, flags, incidents, resends."""

import sys
from typing import Any
from urllib.parse import quote

import click

from monitor.cli import client, output
from monitor.web.asks import PLACED_SCOPES

FAILED = 1
RELOAD_SECONDS = 60.0  # each text may take as long


@click.command()
@click.option(
    "--acknowledge-loosening", "is_acknowledged", is_flag=True, help="Also take rules that stop less than those before."
)
@output.json_option
@client.url_option
@client.token_option
def reload(is_acknowledged: bool, as_json: bool, url: str, token: str | None) -> None:
    """Take up changed configuration and rules: all of them, or nothing where something is wrong."""
    query = "?acknowledge_loosening=true" if is_acknowledged else ""
    answer = client.call("POST", url, f"/-/reload{query}", token, timeout_seconds=RELOAD_SECONDS)
    if answer.get("reloaded") is not True:
        click.echo(f"whatsapp-monitor: {url} does not answer as a sidecar", err=True)
        sys.exit(FAILED)
    output.say(answer, as_json, "Reloaded.")


@click.command()
@click.option("--all", "is_all", is_flag=True, help="Also those that are over.")
@output.json_option
@client.url_option
@client.token_option
def firings(is_all: bool, as_json: bool, url: str, token: str | None) -> None:
    """List the rules that are pending or firing, shadows among them."""
    answer = client.call("GET", url, "/v1/firings" + ("" if is_all else "?live=true"), token)
    columns = ("id", "rule", "mode", "state", "group", "since", "last_at", "ended_at", "reason", "count")
    output.show(answer, "firings", columns, as_json, "Nothing is firing.")


@click.group()
def pauses() -> None:
    """List, place and release pauses of outbound sending."""


@pauses.command("list")
@click.option("--all", "is_all", is_flag=True, help="Also those that are over.")
@output.json_option
@client.url_option
@client.token_option
def list_pauses(is_all: bool, as_json: bool, url: str, token: str | None) -> None:
    """List the pauses in force."""
    answer = client.call("GET", url, f"/v1/pauses?all={str(is_all).lower()}", token)
    columns = ("id", "key", "scope", "scope_id", "lane", "stage", "rule", "code", "since", "until", "reason")
    output.show(answer, "pauses", columns, as_json, "Nothing is paused.")


@pauses.command("add")
@click.option("--scope", required=True, type=click.Choice(PLACED_SCOPES))
@click.option("--id", "scope_id", default="", help="The account's, number's or template's id.")
@click.option("--lane", default="all", show_default=True, type=click.Choice(["all", "business_initiated", "marketing"]))
@click.option("--for", "seconds", help="How long, as 30m or 2d; otherwise until someone resumes.")
@client.actor_option
@client.reason_option
@output.json_option
@client.url_option
@client.token_option
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
    answer = client.call("POST", url, "/v1/pauses", token, {name: value for name, value in ask.items() if value})
    output.say(answer, as_json, f"Paused: {answer['pause']['id']}")


@pauses.command()
@click.argument("pause_id")
@click.option("--probe", "is_probed", is_flag=True, help="Come back by trial: a trickle, then 5 %, then 25 %.")
@click.option("--probe.rate", "rate", default="6/m", show_default=True, help="The trickle.")
@click.option("--probe.for", "seconds", default="10m", show_default=True, help="How long it lasts.")
@click.option("--probe.ramp", "ramp", default="10m", show_default=True, help="How long each share lasts.")
@click.option(
    "--reinstate-for", "reinstate_for", help="Judge the finding: for so long it stops nothing though it comes again."
)
@client.actor_option
@client.reason_option
@output.json_option
@client.url_option
@client.token_option
def resume(
    pause_id: str,
    is_probed: bool,
    rate: str,
    seconds: str,
    ramp: str,
    reinstate_for: str | None,
    actor: str,
    reason: str,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Release the pause PAUSE_ID."""
    ask: dict[str, Any] = {"actor": actor, "reason": reason}
    if is_probed:
        ask["probe"] = {"rate": rate, "for": seconds, "ramp": ramp}
    if reinstate_for is not None:
        ask["reinstate_for"] = reinstate_for
    answer = client.call("POST", url, f"/v1/pauses/{quote(pause_id, safe='')}/resume", token, ask)
    done = "Half open" if is_probed else "Reinstated" if reinstate_for is not None else "Released"
    output.say(answer, as_json, f"{done}: {pause_id}")


@click.group(invoke_without_command=True)
@click.option("--all", "is_all", is_flag=True, help="Also those that are resolved.")
@output.json_option
@client.url_option
@client.token_option
@click.pass_context
def flags(context: click.Context, is_all: bool, as_json: bool, url: str, token: str | None) -> None:
    """List open flags, or resolve one."""
    if context.invoked_subcommand is None:
        answer = client.call("GET", url, "/v1/flags" + ("" if is_all else "?open=true"), token)
        columns = ("id", "rule", "group", "evidence_count", "opened_at", "last_at", "sources")
        output.show(answer, "flags", columns, as_json, "No open flags.")


@flags.command()
@click.argument("flag_id")
@client.actor_option
@client.reason_option
@output.json_option
@client.url_option
@client.token_option
def resolve(flag_id: str, actor: str, reason: str, as_json: bool, url: str, token: str | None) -> None:
    """Close the flag FLAG_ID."""
    answer = client.call(
        "POST", url, f"/v1/flags/{quote(flag_id, safe='')}/resolve", token, {"actor": actor, "reason": reason}
    )
    output.say(answer, as_json, f"Resolved: {flag_id}")


@click.command()
@click.option(
    "--state",
    default="pending",
    show_default=True,
    help="pending, claimed, sent, dropped, superseded, withheld; empty for all.",
)
@output.json_option
@client.url_option
@client.token_option
def resends(state: str, as_json: bool, url: str, token: str | None) -> None:
    """List messages to send again."""
    answer = client.call("GET", url, f"/v1/resends?state={quote(state)}", token)
    columns = ("id", "wamid", "phone_number_id", "state", "reason", "not_before", "attempt", "outcome", "callback_data")
    output.show(answer, "resends", columns, as_json, "Nothing to send again.")


@click.group(invoke_without_command=True)
@output.json_option
@client.url_option
@client.token_option
@click.pass_context
def incidents(context: click.Context, as_json: bool, url: str, token: str | None) -> None:
    """List restrictions of an account, with who told of each first; or close one."""
    if context.invoked_subcommand is None:
        answer = client.call("GET", url, "/v1/incidents", token)
        columns = ("id", "waba_id", "opened_at", "first_witness", "codes", "until", "ended_at")
        output.show(answer, "incidents", columns, as_json, "No incidents.")


@incidents.command()
@click.argument("incident_id")
@client.actor_option
@client.reason_option
@output.json_option
@client.url_option
@client.token_option
def close(incident_id: str, actor: str, reason: str, as_json: bool, url: str, token: str | None) -> None:
    """Close the incident INCIDENT_ID."""
    path = f"/v1/incidents/{quote(incident_id, safe='')}/close"
    answer = client.call("POST", url, path, token, {"actor": actor, "reason": reason})
    output.say(answer, as_json, f"Closed: {incident_id}")
