"""What is wrong with files, as every command tells it."""

import sys
from typing import NoReturn

import click

from monitor.document import Mistaken

WRONG = 2


def end(error: Mistaken) -> NoReturn:
    """Print every mistake with its place, and exit."""
    for mistake in error.mistakes:
        click.echo(str(mistake), err=True)
    sys.exit(WRONG)
