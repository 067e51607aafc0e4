"""Options that several commands take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def config_file(for_what: str) -> Callable[[Any], Any]:
    """Return the option that names the configuration; `for_what` is its help."""
    return click.option(
        "--config.file",
        "config_file",
        default="monitor.yml",
        show_default=True,
        type=click.Path(path_type=Path),
        envvar="WHATSAPP_MONITOR_CONFIG_FILE",
        help=for_what,
    )
