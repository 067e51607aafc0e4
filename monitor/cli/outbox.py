"""`outbox`: what waits to leave, what was refused for good, and having that tried again."""

import click

from monitor.cli import client, output

COLUMNS = ("id", "destination", "kind", "reference", "state", "attempts", "created_at", "error")


@click.group(invoke_without_command=True)
@click.option("--dead", "is_dead", is_flag=True, help="Only what a destination refused for good.")
@click.option("--destination", default="", help="Only what goes there.")
@output.json_option
@client.url_option
@client.token_option
@click.pass_context
def outbox(context: click.Context, is_dead: bool, destination: str, as_json: bool, url: str, token: str | None) -> None:
    """List what has not been delivered yet, or have tried again what was refused for good."""
    if context.invoked_subcommand is None:
        state = "dead" if is_dead else ""
        answer = client.call("GET", url, f"/v1/outbox?state={state}&destination={client.quoted(destination)}", token)
        output.show(answer, "rows", COLUMNS, as_json, "Nothing waits.")


@outbox.command()
@click.argument("row_id", type=int)
@client.url_option
@client.token_option
def show(row_id: int, url: str, token: str | None) -> None:
    """Print all that is known of row ROW_ID, as JSON."""
    output.say(client.call("GET", url, f"/v1/outbox/{row_id}", token), True, "")


@outbox.command()
@click.argument("row_id", type=int, required=False)
@click.option("--all", "is_all", is_flag=True, help="All that was refused for good.")
@click.option("--destination", default="", help="With --all: only what goes there.")
@client.actor_option
@client.reason_option
@output.json_option
@client.url_option
@client.token_option
def retry(
    row_id: int | None,
    is_all: bool,
    destination: str,
    actor: str,
    reason: str,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Have row ROW_ID tried again, or --all."""
    if (row_id is None) != is_all:
        raise click.UsageError("give either a row's id or --all")
    act = {"actor": actor, "reason": reason}
    if row_id is not None:
        answer = client.call("POST", url, f"/v1/outbox/{row_id}/retry", token, act)
        output.say(answer, as_json, f"Waits again: {row_id}")
        return
    answer = client.call("POST", url, "/v1/outbox/retry", token, {**act, "destination": destination})
    told = ", ".join(f"{count} for {name}" for name, count in answer["retried"].items())
    output.say(answer, as_json, f"Wait again: {told}")
