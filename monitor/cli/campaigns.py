"""`campaigns`: what campaigns came to, and who did not engage."""

import csv
import sys
from typing import Any
from urllib.parse import quote

import click

from monitor.cli import client, output

_COLUMNS = ("campaign", "sent", "delivered", "read", "replied", "failed", "presumed_expired")
_RATES = ("delivered", "read", "replied", "failed")


@click.group(invoke_without_command=True)
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@output.json_option
@client.url_option
@client.token_option
@click.pass_context
def campaigns(context: click.Context, as_csv: bool, as_json: bool, url: str, token: str | None) -> None:
    """List campaigns, the one heard of last first; or those who did not engage with one."""
    if context.invoked_subcommand is not None:
        return
    if as_csv:
        _write([_flat(one) for one in client.pages(url, "/v1/campaigns?limit=1000", token, "campaigns")])
        return
    answer = client.call("GET", url, "/v1/campaigns?limit=1000", token)
    if not as_json:
        for one in answer["campaigns"]:
            one.update({f"{name}_rate": _percent(one["rates"][name]) for name in _RATES})
    columns = (*_COLUMNS, *(f"{name}_rate" for name in _RATES), "billable", "failed_by_class")
    output.show(answer, "campaigns", columns, as_json, "No campaigns.")


@campaigns.command()
@click.argument("campaign")
@click.option("--after", default="24h", show_default=True, help="Delivered at least so long ago, and not read.")
@click.option("--keys", is_flag=True, help="Add what the application gave as biz_opaque_callback_data.")
@client.url_option
@client.token_option
def unengaged(campaign: str, after: str, keys: bool, url: str, token: str | None) -> None:
    """Print as CSV who was sent CAMPAIGN and neither read nor answered it."""
    path = f"/v1/campaigns/{quote(campaign, safe='')}/unengaged?limit=1000&after={quote(after)}"
    found = client.pages(url, path + ("&keys=true" if keys else ""), token, "unengaged")
    _write(found, ["recipient", "wamid", "delivered_at", *(["key"] if keys else [])])


def _flat(campaign: dict[str, Any]) -> dict[str, Any]:
    rates = {f"{name}_rate": campaign["rates"][name] for name in _RATES}
    parts = {
        f"{part}_{name}": count
        for part in ("failed_by_class", "billable", "free")
        for name, count in campaign[part].items()
    }
    return {**{name: campaign[name] for name in _COLUMNS}, **rates, **parts}


def _write(rows: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    names = columns or list(dict.fromkeys(name for row in rows for name in row)) or list(_COLUMNS)
    writer = csv.DictWriter(sys.stdout, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"
