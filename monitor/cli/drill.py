"""`drill`: play a block of an account that does not exist, and measure how soon everybody knows of it."""

import contextlib
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import httpx2

from monitor import config, payloads, signature
from monitor.actions import DRILL_ACCOUNT
from monitor.cli import client, mistakes, options, output
from monitor.config import Loaded
from monitor.document import Mistaken

FAILED = 1
POLL_SECONDS = 0.001
FOLLOWER_POLL_SECONDS, ALERTMANAGER_POLL_SECONDS = 0.005, 0.05


class DrillError(Exception):
    """The drill could not begin, or not be ended."""


@click.command()
@click.argument("code", type=click.Choice(["368"]))
@options.config_file("The sidecar's configuration: its app secret, and its Alertmanagers.")
@click.option("--webhook", default="http://127.0.0.1:8368", show_default=True, help="The public listener.")
@click.option("--timeout", "timeout_seconds", default=15.0, show_default=True, help="Seconds for each stage.")
@client.actor_option
@output.json_option
@client.url_option
@client.token_option
def drill(
    code: str,
    config_file: Path,
    webhook: str,
    timeout_seconds: float,
    actor: str,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Send a signed synthetic block through the public listener, and measure how soon it is known everywhere.

    It is told of an account that nobody has, so no real sending stops; alerts carry the label drill="true", and the
    application gets the webhook like any other. Measured are the gate, each follower that says how far it is, and each
    Alertmanager; then the pause is released, and the result is stored as metrics. Exit code 1 if something was missed.
    """
    try:
        loaded = config.load(config_file)
    except Mistaken as error:
        mistakes.end(error)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx2.Client(
        base_url=url.rstrip("/"), headers=headers, timeout=10, trust_env=False, verify=client.trusted()
    ) as sidecar:
        play = _Play(sidecar, loaded, webhook.rstrip("/"), timeout_seconds, actor)
        try:
            result = play.run(int(code))
        except DrillError as error:
            _fail(str(error))
        except httpx2.HTTPStatusError as error:
            _fail("; ".join(client.refusals(error.response, token)))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            _fail(f"{url} does not answer as a sidecar: {error or type(error).__name__}")
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        for row in result["stages"]:
            took = "not reached" if row["seconds"] is None else f"{row['seconds'] * 1000:.1f} ms"
            click.echo(f"{row['stage']:<13} {took:>12}  {row['target']}".rstrip())
        click.echo("Passed." if result["passed"] else "Failed: see above.")
    if not result["passed"]:
        sys.exit(FAILED)


class _Play:
    """One drill."""

    def __init__(
        self, sidecar: httpx2.Client, loaded: Loaded, webhook: str, timeout_seconds: float, actor: str
    ) -> None:
        self._sidecar = sidecar
        self._loaded = loaded
        self._webhook = webhook + loaded.config.webhook.path
        self._timeout_seconds = timeout_seconds
        self._actor = actor
        self._stages: list[dict[str, Any]] = []
        self._started = 0.0

    def run(self, code: int) -> dict[str, Any]:
        if not self._may_send():
            raise DrillError(f"sending of {DRILL_ACCOUNT} is paused already: release it first")
        try:
            self._play(code)
        finally:
            self._release()
        is_passed = all(row["seconds"] is not None for row in self._stages if row["stage"] != "follower")
        seconds: dict[str, float] = {}
        for row in self._stages:
            if row["seconds"] is not None:
                seconds[row["stage"]] = max(seconds.get(row["stage"], 0.0), row["seconds"])
        told = {"actor": self._actor, "reason": "drill", "passed": is_passed, "seconds": seconds, "code": code}
        self._sidecar.post("/v1/drills", json=told).raise_for_status()
        return {"passed": is_passed, "stages": self._stages}

    def _play(self, code: int) -> None:
        told = {**payloads.error(code), "error_data": {"details": f"drill {uuid.uuid4()}"}}
        change = payloads.change(DRILL_ACCOUNT, errors=[told])
        body = payloads.delivery(change, waba_id=DRILL_ACCOUNT, time=time.time())
        secret = self._loaded.app_secrets[0].reveal().encode()
        sending = threading.Thread(target=self._send, args=(body, signature.sign(body, secret)))
        self._started = time.perf_counter()
        sending.start()
        self._reach("gate", {self._sidecar.base_url.host: lambda: not self._may_send()}, POLL_SECONDS)
        sending.join()
        pauses = self._pauses()
        if not pauses:
            return
        position = int(pauses[0]["id"][1:].split("-")[0])
        names = [one["name"] for one in self._followers() if "pause" in one["events"]]
        self._reach("follower", {name: self._seen(name, position) for name in names}, FOLLOWER_POLL_SECONDS)
        with contextlib.ExitStack() as stack:
            asked: dict[str, Callable[[], bool]] = {}
            for target in self._loaded.config.alerts.alertmanagers:
                made = client.of_target(target, self._loaded.directory)
                asked[target.url] = _told(stack.enter_context(made), f"{target.url.rstrip('/')}/api/v2/alerts")
            self._reach("alertmanager", asked, ALERTMANAGER_POLL_SECONDS)

    def _send(self, body: bytes, signed: str) -> None:
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signed}
        try:
            answer = httpx2.post(self._webhook, content=body, headers=headers, timeout=10, trust_env=False)
            is_taken = answer.status_code == 200
        except httpx2.HTTPError:
            is_taken = False
        took = time.perf_counter() - self._started if is_taken else None
        self._stages.append({"stage": "webhook", "target": self._webhook, "seconds": took})

    def _reach(self, stage: str, questions: dict[str, Callable[[], bool]], poll_seconds: float) -> None:
        """Ask until every target knows of the block, or the time is over."""
        end = time.perf_counter() + self._timeout_seconds
        waiting = dict(questions)
        while waiting and time.perf_counter() < end:
            for target in [target for target, is_there in waiting.items() if is_there()]:
                del waiting[target]
                took = time.perf_counter() - self._started
                self._stages.append({"stage": stage, "target": target, "seconds": took})
            time.sleep(poll_seconds)
        self._stages += [{"stage": stage, "target": target, "seconds": None} for target in waiting]

    def _may_send(self) -> bool:
        asked = {"waba_id": DRILL_ACCOUNT, "phone_number_id": DRILL_ACCOUNT}
        answer = self._sidecar.get("/v1/gate", params=asked)
        if answer.status_code != 403:
            answer.raise_for_status()
        return answer.status_code == 200

    def _pauses(self) -> list[dict[str, Any]]:
        found = self._sidecar.get("/v1/pauses").raise_for_status().json()["pauses"]
        return [pause for pause in found if pause["scope_id"] == DRILL_ACCOUNT]

    def _followers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._sidecar.get("/v1/followers").raise_for_status().json()["followers"]
        return found

    def _seen(self, name: str, position: int) -> Callable[[], bool]:
        def has_seen() -> bool:
            return any(one["name"] == name and one["seen_position"] >= position for one in self._followers())

        return has_seen

    def _release(self) -> None:
        started = time.perf_counter()
        act = {"actor": self._actor, "reason": "the drill is over"}
        for pause in self._pauses():
            self._sidecar.post(f"/v1/pauses/{pause['id']}/resume", json=act).raise_for_status()
        is_free = self._may_send()
        took = time.perf_counter() - started if is_free else None
        self._stages.append({"stage": "release", "target": self._sidecar.base_url.host, "seconds": took})


def _fail(message: str) -> NoReturn:
    click.echo(f"whatsapp-monitor: {message}", err=True)
    sys.exit(FAILED)


def _told(alertmanager: httpx2.Client, url: str) -> Callable[[], bool]:
    def is_told() -> bool:
        try:
            answer = alertmanager.get(url, params={"filter": 'drill="true"', "active": "true"})
            return answer.status_code == 200 and bool(answer.json())
        except (httpx2.HTTPError, ValueError):
            return False

    return is_told
