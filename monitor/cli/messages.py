"""`messages`: what became of single messages, and of all that was sent to one person."""

from urllib.parse import quote

import click

from monitor.cli import client, output

FORGET_SECONDS = 600.0  # the journal is searched


class _ShowOrCommand(click.Group):
    """A group whose unknown command is a wamid to show."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, or `show` with all of the arguments."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group(cls=_ShowOrCommand, invoke_without_command=True)
@click.option("--recipient", default="", help="A phone number or user id; only its keyed hash is searched.")
@click.option("--state", default="", help="Only messages in this state, such as failed.")
@output.json_option
@client.url_option
@client.token_option
@click.pass_context
def messages(context: click.Context, recipient: str, state: str, as_json: bool, url: str, token: str | None) -> None:
    """List the newest messages, show the one named WAMID, or forget a person."""
    if context.invoked_subcommand is None:
        path = f"/v1/messages?recipient={quote(recipient, safe='')}&state={quote(state, safe='')}"
        columns = ("wamid", "state", "direction", "phone_number_id", "recipient", "category", "campaign")
        output.show(client.call("GET", url, path, token), "messages", columns, as_json, "No messages.")


@messages.command()
@click.argument("wamid")
@output.json_option
@client.url_option
@client.token_option
def show(wamid: str, as_json: bool, url: str, token: str | None) -> None:
    """Show the timeline of the message WAMID."""
    answer = client.call("GET", url, f"/v1/messages/{quote(wamid, safe='')}", token)
    if not as_json:
        click.echo(f"{answer['wamid']}: {answer['state']}")
    output.show(answer, "timeline", ("timestamp", "status", "codes", "received_at"), as_json, "")


@messages.command()
@click.option("--recipient", required=True, help="The person's phone number or user id.")
@client.actor_option
@client.reason_option
@output.json_option
@client.url_option
@client.token_option
def forget(recipient: str, actor: str, reason: str, as_json: bool, url: str, token: str | None) -> None:
    """Erase a person: messages, resends, evidence, and what Meta wrote about them in the journal."""
    ask = {"recipient": recipient, "actor": actor, "reason": reason}
    answer = client.call("POST", url, "/v1/people/forget", token, ask, FORGET_SECONDS)
    waiting = answer["waiting"]
    later = f"; {waiting} wait to be forwarded: run this again once they are" if waiting else ""
    output.say(answer, as_json, f"Forgotten; {answer['entries']} journal entries changed{later}")
