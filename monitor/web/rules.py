"""The rules in force over HTTP: what each waits for, what fires, and what shadows would have done."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.firings import Firing, is_live
from monitor.pipeline import Pipeline
from monitor.rules import Rule
from monitor.store.protocol import Store
from monitor.web import answers
from monitor.web.answers import guarded


class Rules:
    """The endpoints below /v1/rules and /v1/firings."""

    def __init__(self, store: Store, pipeline: Pipeline, clock: Callable[[], float]) -> None:
        self._store = store
        self._pipeline = pipeline
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/rules", guarded(self.rules), methods=["GET"]),
            Route("/v1/firings", guarded(self.firings), methods=["GET"]),
        ]

    async def rules(self, _: Request) -> Response:
        """List the rules in force, in their order, with how many groups of each are pending or firing now."""
        plan, now = self._pipeline.plan, self._clock()
        return answers.json({"hash": plan.hash, "rules": described(plan.rules.values(), self._live(now))})

    async def firings(self, request: Request) -> Response:
        """List firings, newest first; `live=true` or `live=false` narrows."""
        is_live = answers.yes_or_no(request, "live")
        found = await self._store.firings(*answers.paging(request), is_live=is_live)
        return answers.page("firings", found, self._shown)

    def _live(self, now: float) -> list[Firing]:
        return [firing for firing in list(self._pipeline.memory.firings.values()) if is_live(firing, now)]

    def _shown(self, firing: Firing) -> dict[str, Any]:
        rule = self._pipeline.plan.rules.get(firing.rule)
        names = rule.by if rule is not None and len(rule.by) == len(firing.group) else ()
        group = dict(zip(names, firing.group, strict=True)) if names else list(firing.group)
        return {**msgspec.to_builtins(firing), "group": group}


def described(rules: Iterable[Rule], live: Sequence[Firing]) -> list[dict[str, Any]]:
    """Return rules as they are shown, with what of them is pending or firing."""
    return shown(rules, Counter((firing.rule, firing.state) for firing in live))


def shown(rules: Iterable[Rule], counts: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return rules as they are shown, with how often each is in each state."""
    return [_described(rule, counts) for rule in rules]


def _described(rule: Rule, counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    return {
        "name": rule.name,
        "summary": rule.summary,
        "mode": rule.mode,
        "by": list(rule.by),
        "actions": [next(iter(action.model_fields_set)) for action in rule.actions],
        "runbook": rule.runbook,
        "place": rule.place,
        "pending": counts[rule.name, "pending"],
        "firing": counts[rule.name, "firing"],
    }
