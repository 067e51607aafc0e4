"""The command line: one file for each group of commands."""

import os
from collections.abc import Sequence

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from monitor import __version__
from monitor.cli import (
    audit,
    campaigns,
    doctor,
    drill,
    explain,
    export,
    incident_report,
    messages,
    operate,
    outbox,
    output,
    replay,
    rules,
    serve,
    simulate,
)

PREFIX = "WHATSAPP_MONITOR"
PROGRAM = "whatsapp-monitor"
COMPLETE = f"_{PREFIX}_COMPLETE"
SHELLS = {"bash": BashComplete, "fish": FishComplete, "zsh": ZshComplete}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """Watch what Meta says of your WhatsApp messages, and pause sending before it gets worse.

    Each option can also be given as an environment variable WHATSAPP_MONITOR_<COMMAND>_<OPTION>. Exit codes: 0 done,
    1 failed, 2 wrong usage, configuration or rules, 3 the store is in use or can't be opened. Colours are shown on a
    terminal only, and not where NO_COLOR is set.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False


@main.command()
@output.json_option
def version(as_json: bool) -> None:
    """Print the version."""
    output.say({"version": __version__}, as_json, f"whatsapp-monitor {__version__}")


@main.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print what lets SHELL complete commands and options.

    Put `eval "$(whatsapp-monitor completion bash)"` into ~/.bashrc, the same with zsh into ~/.zshrc, and for fish
    `whatsapp-monitor completion fish > ~/.config/fish/completions/whatsapp-monitor.fish`.
    """
    click.echo(SHELLS[shell](main, {}, PROGRAM, COMPLETE).source())


main.add_command(serve.serve)
main.add_command(serve.check_config)
main.add_command(rules.rules)
main.add_command(operate.reload)
main.add_command(operate.pauses)
main.add_command(operate.firings)
main.add_command(operate.flags)
main.add_command(operate.resends)
operate.incidents.add_command(incident_report.export)
main.add_command(operate.incidents)
main.add_command(messages.messages)
main.add_command(campaigns.campaigns)
main.add_command(explain.explain)
main.add_command(export.export)
main.add_command(simulate.simulate)
main.add_command(replay.replay)
main.add_command(drill.drill)
main.add_command(audit.audit)
main.add_command(outbox.outbox)
main.add_command(doctor.doctor)


def _name_variables(command: click.Command, prefix: str) -> None:
    """Give each option the variable of its own text: click would make one of the Python parameter's name."""
    for option in command.params:
        if isinstance(option, click.Option):
            named: Sequence[str] = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
            option.envvar = [*named, f"{prefix}_{_upper(max(option.opts, key=len).lstrip('-'))}"]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            _name_variables(inner, f"{prefix}_{_upper(name)}")


def _upper(name: str) -> str:
    return name.replace("-", "_").replace(".", "_").upper()


_name_variables(main, PREFIX)
