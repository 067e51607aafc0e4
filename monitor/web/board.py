"""The board: the status page's parts, rendered once for all who have it open, and told to them when they change."""

import asyncio
import heapq
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from monitor import incidents
from monitor.actions import alert_ended_at
from monitor.feed import Feed
from monitor.firings import FIRING, is_live
from monitor.hour import Hour
from monitor.pipeline import Pipeline
from monitor.store.protocol import Store, StoreUnavailableError
from monitor.usages import Usages
from monitor.web import charts, rules, verdicts
from monitor.web.verdicts import Overview

PARTS = (
    "verdict", "pauses", "restrictions", "numbers", "flags", "hour", "outbox", "alerts", "resends", "rules", "audit",
)  # fmt: skip
LOOK_SECONDS = 0.5  # how soon an open page is told that the verdict has changed, and how often at most
CALM_SECONDS = 2.0  # how often at most it is told of anything else
SLOW_SECONDS = 5.0  # how often what moves all the time is looked at
AGED_SECONDS = 10.0  # a reader without JavaScript is shown ages that are at most so old
HEARTBEAT_SECONDS = 15.0
SLICE = 1_000  # firings counted before others may run
_UNSTORED: dict[str, dict[str, Any]] = {
    "resends": {"resends": [], "counts": {}},
    "audit": {"audit": []},
    "outbox": {"backlog": {}},
}
FLAGS_SHOWN, RESENDS_SHOWN, AUDIT_SHOWN, ALERTS_SHOWN, GROUPS_SHOWN = 20, 20, 15, 20, 3


class Part(msgspec.Struct, frozen=True):
    """One part as it was last rendered from its values; `version` is the board's when they last changed."""

    values: Mapping[str, Any]
    html: Markup
    block: bytes
    version: int
    rendered_at: float


class Board:
    """Looks only while somebody does; pages that are open share what is rendered, and the bytes that tell of it."""

    def __init__(
        self,
        store: Store,
        pipeline: Pipeline,
        hub: Feed,
        hour: Hour,
        usages: Usages,
        templates: jinja2.Environment,
        clock: Callable[[], float],
    ) -> None:
        self._store, self._pipeline, self._feed, self._hour, self._clock = store, pipeline, hub, hour, clock
        self._usages = usages
        self._templates = {name: templates.get_template(f"parts/{name}.html") for name in PARTS}
        self._boot = secrets.token_hex(4)
        self._looking = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_closed = False
        self._seen: tuple[Any, ...] = ()
        self._told_at = self._slow_at = float("-inf")
        self._next_at = float("inf")
        self.version = 0
        self.followers = 0
        self.parts: dict[str, Part] = {}

    @property
    def mark(self) -> str:
        """How new the parts are: what a page tells when it begins to follow."""
        return f"{self._boot}.{self.version}"

    async def current(self) -> dict[str, Part]:
        """Return the parts as things stand, with ages that are fit to be read."""
        await self.look()
        now = self._clock()
        for name, part in self.parts.items():
            if part.rendered_at < now - AGED_SECONDS:
                self.parts[name] = self._rendered(name, part.values, part.version, now)
                await asyncio.sleep(0)
        return dict(self.parts)

    async def run(self) -> None:
        """Look again and again while a page is open."""
        while True:
            await self._wanted.wait()
            await self.look(is_asked=False)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, *, is_asked: bool = True) -> None:
        """Render what has changed since the last look, and tell the pages that follow.

        What is not asked for and leaves the verdict as it was may wait: an incident's evidence grows all the time.
        """
        async with self._looking:
            now, seen = self._clock(), self._state()
            is_slow_due = now >= self._slow_at + SLOW_SECONDS
            if seen == self._seen and now < self._next_at and not is_slow_due:
                return
            overview = self._overview(now)
            if not is_asked and now < self._told_at + CALM_SECONDS and self._is_known("verdict", self._said(overview)):
                return
            found = await self._gathered(overview, now, with_slow=is_slow_due)
            changed = [name for name, values in found.items() if not self._is_known(name, values)]
            self._seen, self._next_at = seen, overview.next_at
            self._slow_at = now if is_slow_due else self._slow_at
            if changed:
                await self._tell({name: found[name] for name in changed}, now)

    async def _tell(self, found: dict[str, dict[str, Any]], now: float) -> None:
        """Put new parts in their places, all at once: whoever looks meanwhile must not see half of a version."""
        made: dict[str, Part] = {}
        for name, values in found.items():
            made[name] = self._rendered(name, values, self.version + 1, now)
            await asyncio.sleep(0)
        self.version += 1
        self.parts.update(made)
        self._told_at = now
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, mark: str) -> AsyncGenerator[bytes, None]:
        """Yield what has changed since a mark, and then each change; of a slow reader only the newest."""
        boot, _, version = mark.partition(".")
        told = int(version) if boot == self._boot and version.isdigit() else -1
        self.followers += 1
        self._wanted.set()
        try:
            yield b"retry: 1000\n\n"
            while not self._is_closed:
                changed = self._changed
                if blocks := [part.block for part in self.parts.values() if part.version > told]:
                    told = self.version
                    yield b"".join(blocks) + f"id: {self._boot}.{told}\nevent: mark\ndata: {told}\n\n".encode()
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    yield b"event: beat\ndata:\n\n"
        finally:
            self.followers -= 1
            if not self.followers:
                self._wanted.clear()

    def close(self) -> None:
        """End every stream, and each that comes."""
        self._is_closed = True
        self._changed.set()

    def _state(self) -> tuple[Any, ...]:
        """Return what tells cheaply whether anything but the clock has moved."""
        return self._feed.changed_position, self._pipeline.plan.hash, self._pipeline.is_loaded

    def _is_known(self, name: str, values: Mapping[str, Any]) -> bool:
        return name in self.parts and self.parts[name].values == values

    def _rendered(self, name: str, values: Mapping[str, Any], version: int, now: float) -> Part:
        html = self._templates[name].render(values, now=now)
        data = b"".join(b"data: " + line + b"\n" for line in html.encode("utf-8", "replace").splitlines())
        return Part(values, Markup(html), b"event: " + name.encode() + b"\n" + data + b"\n", version, now)  # noqa: S704

    def _overview(self, now: float) -> Overview:
        wabas = self._pipeline.memory.wabas
        return verdicts.of(self._pipeline.standing, wabas, self._runbooks(), self._quotas(now), now)

    def _said(self, overview: Overview, *, is_stored: bool = True) -> dict[str, Any]:
        return {**verdicts.said(overview, is_loaded=self._pipeline.is_loaded), "is_stored": is_stored}

    def _runbooks(self) -> dict[str, str]:
        return {rule.name: rule.runbook for rule in self._pipeline.plan.rules.values() if rule.runbook}

    async def _gathered(self, overview: Overview, now: float, *, with_slow: bool) -> dict[str, dict[str, Any]]:
        """Return the values of each part; without the store, of those that memory knows."""
        stands = self._pipeline.standing
        try:
            found, is_stored = await self._stored(with_slow=with_slow), True
        except StoreUnavailableError:
            found, is_stored = {name: values for name, values in _UNSTORED.items() if name not in self.parts}, False
        flags = [flag for flag in stands.flags.values() if flag.resolved_at is None]
        found |= {
            "verdict": self._said(overview, is_stored=is_stored),
            "pauses": verdicts.paused(overview),
            "numbers": {"rows": overview.rows, "free": overview.free, "lanes": [name for name, _ in verdicts.LANES]},
            "restrictions": {
                "incidents": [
                    one for one in sorted(stands.incidents.values(), key=lambda one: -one.opened_at)
                    if incidents.ended_at(one, stands.pauses, now) is None
                ],
            },
            "flags": {
                "flags": heapq.nlargest(FLAGS_SHOWN, flags, key=lambda flag: flag.last_at),
                "count": len(flags),
                "runbooks": self._runbooks(),
            },
            "rules": {"rules": await self._ruled(now), "hash": self._pipeline.plan.hash},
        }  # fmt: skip
        if with_slow:
            alerts = [one for one in stands.alerts.values() if alert_ended_at(one, stands.pauses, now) is None]
            shown = heapq.nlargest(ALERTS_SHOWN, alerts, key=lambda one: one.since)
            found["alerts"] = {"alerts": shown, "count": len(alerts)}
            found["hour"] = charts.values(self._hour.minutes())
        return found

    async def _stored(self, *, with_slow: bool) -> dict[str, dict[str, Any]]:
        """Return the values of the parts that only the store knows."""
        store = self._store
        waiting = (await store.resends("", RESENDS_SHOWN, state="pending")).items
        found: dict[str, dict[str, Any]] = {
            "resends": {"resends": waiting, "counts": await store.pending_resends()},
            "audit": {"audit": (await store.audit("", AUDIT_SHOWN)).items},
        }
        return {**found, "outbox": {"backlog": await store.backlog()}} if with_slow else found

    def _quotas(self, now: float) -> dict[str, float]:
        """Return which share of an account's sends Meta's quota leaves room for, of those where that is not all."""
        if not self._usages.is_known:
            return {}
        subjects = {waba_id or number for number, waba_id in self._pipeline.memory.wabas.items()}
        found = {one: self._usages.slowing(one, now) for one in subjects}
        return {one: slowing.share for one, slowing in found.items() if slowing is not None}

    async def _ruled(self, now: float) -> list[dict[str, Any]]:
        """Return the rules with their firings; of these there may be a hundred thousand."""
        counts: Counter[tuple[str, str]] = Counter()
        groups: dict[str, list[str]] = {}
        for place, firing in enumerate(list(self._pipeline.memory.firings.values())):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if is_live(firing, now):
                counts[firing.rule, firing.state] += 1
                if firing.state == FIRING and len(named := groups.setdefault(firing.rule, [])) < GROUPS_SHOWN:
                    named.append(", ".join(part for part in firing.group if part))
        plan = self._pipeline.plan
        return [
            {**one, "groups": [name for name in groups.get(one["name"], ()) if name]}
            for one in rules.shown(plan.rules.values(), counts)
        ]
