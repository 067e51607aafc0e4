"""Campaigns over HTTP: what their messages came to, and who did not engage."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import campaigns
from monitor.store.protocol import Campaign, Store
from monitor.web import answers
from monitor.web.asks import positive


class Campaigns:
    """The endpoints."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/campaigns", answers.guarded(self.campaigns), methods=["GET"]),
            Route("/v1/campaigns/{campaign:path}/unengaged", answers.guarded(self.unengaged), methods=["GET"]),
        ]

    async def campaigns(self, request: Request) -> Response:
        """List campaigns, the one heard of last first."""
        return answers.page("campaigns", await self._store.campaigns(*answers.paging(request)), shown)

    async def unengaged(self, request: Request) -> Response:
        """List whose message was delivered at least `after` ago and not read; `keys=true` adds what the sender gave."""
        cursor, limit = answers.paging(request)
        after = positive(request.query_params.get("after", "24h"), "after")
        place = int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 19 else 0
        has_keys = answers.yes_or_no(request, "keys") is True
        found = await self._store.unengaged(request.path_params["campaign"], self._clock() - after, place, limit)
        people = []
        for message in found.items:
            one = {
                "recipient": message.recipient,
                "wamid": message.wamid,
                "delivered_at": message.first("delivered"),
            }
            people.append({**one, "key": message.callback_data} if has_keys else one)
        return answers.json({"unengaged": people, "next_cursor": found.next_cursor})


def shown(campaign: Campaign) -> dict[str, Any]:
    """Return a campaign as the API shows it: counts, failures by class, rates and cost units by category."""
    counts = campaign.counts
    return {
        "campaign": campaign.campaign,
        "first_at": campaign.first_at,
        "last_at": campaign.last_at,
        **{name: counts.get(name, 0) for name in campaigns.HEADINGS},
        "failed_by_class": _part(counts, "failed_"),
        "rates": campaigns.rates(counts),
        "billable": _part(counts, "billable_"),
        "free": _part(counts, "free_"),
    }


def _part(counts: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix) and count}
