"""The command line: one file for each group of commands."""

import click

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
    rules,
    serve,
    simulate,
)

PREFIX = "WHATSAPP_MONITOR"


@click.group(context_settings={"auto_envvar_prefix": PREFIX, "help_option_names": ["-h", "--help"]})
def main() -> None:
    """Watch what Meta says of your WhatsApp messages, and pause sending before it gets worse.

    Each option can also be given as an environment variable WHATSAPP_MONITOR_<COMMAND>_<OPTION>. Exit codes: 0 done,
    1 failed, 2 wrong usage, configuration or rules, 3 the store is in use or can't be opened.
    """


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"whatsapp-monitor {__version__}")


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
main.add_command(drill.drill)
main.add_command(audit.audit)
main.add_command(outbox.outbox)
main.add_command(doctor.doctor)
