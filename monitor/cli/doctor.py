"""`doctor`: what must be right outside of the sidecar, each with the command that mends it."""

import asyncio
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import click
import httpx2
import msgspec

from monitor import config, destinations, networks
from monitor.channels import Answer, Channel, SendError
from monitor.cli import client, mistakes, options, output
from monitor.config import Loaded
from monitor.document import Mistaken
from monitor.store.protocol import ALERTMANAGER
from monitor.targets import HttpOptions, Notifier, Slack, Target, is_header

FAILED = 1
VERSION = "v23.0"
FREE_BYTES_LEAST = 1024**3
SKEW_SECONDS_MOST = 30.0
NUMBERS_MOST = 50
TIMEOUT_SECONDS = 10.0
FIELDS_NEEDED = frozenset({"messages", "account_update"})
_INFO = re.compile(r'^whatsapp_phone_number_info\{phone_number_id="([^"]+)",waba_id="([^"]*)"\} 1', re.MULTILINE)


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, how it is, and what mends it."""

    name: str
    state: Literal["ok", "warning", "failed", "skipped"]
    told: str
    mend: str = ""


@click.command()
@options.config_file("The sidecar's configuration.")
@click.option("--app-id", envvar="META_APP_ID", default="", help="The Meta app; META_APP_ID.")
@click.option("--access-token", envvar="META_ACCESS_TOKEN", default="", help="Better given as META_ACCESS_TOKEN.")
@click.option(
    "--phone-number-id", "numbers", multiple=True, help="Numbers to look at; those the sidecar knows if none."
)
@click.option("--waba-id", "wabas", multiple=True, help="Accounts; else those the sidecar knows.")
@output.json_option
@client.url_option
@client.token_option
def doctor(
    config_file: Path,
    app_id: str,
    access_token: str,
    numbers: tuple[str, ...],
    wabas: tuple[str, ...],
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Look at the sidecar, its disk and clock, at Meta's app, token, webhook and numbers, and at what it sends to.

    Exit code 1 where something is wrong. What needs the app's id or an access token is left out without it.
    """
    for option, text in (("--token", token or ""), ("--access-token", access_token)):
        if not is_header(text) or not text.isascii():
            raise click.BadParameter("it holds what no header can hold; copy it anew", param_hint=option)
    try:
        loaded = config.load(config_file)
    except Mistaken as error:
        mistakes.end(error)
    found: list[Finding] = []
    with httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False, verify=client.trusted()) as sidecar:
        graph = _Graph(loaded, app_id, access_token)
        for one in _findings(sidecar, graph, loaded, config_file, url, token, numbers, wabas):
            found.append(one)
            if not as_json:
                _print(one)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(one) for one in found], indent=2))
    if any(one.state == "failed" for one in found):
        sys.exit(FAILED)


def _findings(
    sidecar: httpx2.Client,
    graph: "_Graph",
    loaded: Loaded,
    config_file: Path,
    url: str,
    token: str | None,
    numbers: tuple[str, ...],
    wabas: tuple[str, ...],
) -> Iterator[Finding]:
    yield from _sidecar(sidecar, url, token, config_file)
    known = _numbers(sidecar, url, token)
    yield from _machine(loaded)
    yield from graph.app()
    yield from graph.numbers(numbers or [number for number, _ in known])
    yield from graph.accounts(wabas or sorted({waba for _, waba in known if waba}))
    yield from _targets(loaded)


def _print(one: Finding) -> None:
    click.echo(f"{output.tinted(one.state)}{'':<{8 - len(one.state)}} {one.name:<28} {one.told}")
    if one.mend and one.state in {"warning", "failed"}:
        click.echo(f"{'':<8} mend it: {one.mend}")


def _sidecar(sidecar: httpx2.Client, url: str, token: str | None, config_file: Path) -> Iterator[Finding]:
    start = f"whatsapp-monitor serve --config.file {config_file}"
    try:
        answer = sidecar.get(f"{url.rstrip('/')}/-/ready")
        listed = sidecar.get(f"{url.rstrip('/')}/v1/pauses", headers=_bearer(token))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        yield Finding("sidecar", "failed", f"{url} does not answer: {type(error).__name__}", start)
        return
    if answer.status_code == 200:
        yield Finding("sidecar", "ok", f"ready at {url}")
    else:
        yield Finding("sidecar", "failed", f"not ready: {answer.status_code}", f"look at its log; {start}")
    if listed.status_code == 401:
        yield Finding("operator token", "failed", "the sidecar wants one", "export WHATSAPP_MONITOR_TOKEN=…")


def _numbers(sidecar: httpx2.Client, url: str, token: str | None) -> list[tuple[str, str]]:
    """Return the numbers that the sidecar knows, each with its account."""
    try:
        text = sidecar.get(
            f"{url.rstrip('/')}/metrics", params={"name[]": "whatsapp_phone_number_info"}, headers=_bearer(token)
        ).text
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return []
    return _INFO.findall(text)[:NUMBERS_MOST]


def _machine(loaded: Loaded) -> Iterator[Finding]:
    folder = loaded.store_path.parent
    if not folder.exists():
        yield Finding("disk", "failed", f"{folder} is not there", f"mkdir -p {folder}")
        return
    free = shutil.disk_usage(folder).free
    told = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free < FREE_BYTES_LEAST:
        yield Finding("disk", "failed", told, f"make room, or point store.url elsewhere: df -h {folder}")
    elif not os.access(folder, os.W_OK):
        yield Finding("disk", "failed", f"{folder} can't be written", f"chown {os.getuid()} {folder}")
    else:
        yield Finding("disk", "ok", told)


class _Graph:
    """Meta's side, asked through the configured Graph URL."""

    def __init__(self, loaded: Loaded, app_id: str, access_token: str) -> None:
        self._loaded = loaded
        self._app_id = app_id
        self._access_token = access_token
        self._base = f"{loaded.config.graph.url.rstrip('/')}/{VERSION}"

    def app(self) -> Iterator[Finding]:
        """Yield on clock, app secret and the webhook's subscription."""
        yield self._clock()
        if not self._app_id:
            yield Finding("app secret and webhook", "skipped", "--app-id is not given")
            return
        subscriptions: list[dict[str, Any]] = []
        matching = 0
        for secret in self._loaded.app_secrets:
            status, said = self._get(f"{self._app_id}/subscriptions", f"{self._app_id}|{secret.reveal()}")
            if status == 200:
                matching += 1
                subscriptions = said.get("data") or subscriptions
        if not matching:
            mend = "copy it from the app's dashboard, Settings, Basic, into webhook.app_secrets; then POST /-/reload"
            yield Finding("app secret", "failed", f"Meta does not know it as app {self._app_id}'s", mend)
            return
        yield Finding("app secret", "ok", f"{matching} of {len(self._loaded.app_secrets)} is app {self._app_id}'s")
        yield from self._subscription(subscriptions)

    def numbers(self, numbers: Iterable[str]) -> Iterator[Finding]:
        """Yield on the token, and on what Meta says of each number's health."""
        numbers = list(numbers)
        if not self._access_token or not numbers:
            why = "no number is known" if self._access_token else "META_ACCESS_TOKEN is not set"
            yield Finding("access token and numbers", "skipped", why)
            return
        for number in numbers:
            status, said = self._get(f"{number}?fields=display_phone_number,health_status", self._access_token)
            name = f"number {number}"
            if status != 200:
                yield _refused(name, status, said)
                continue
            health = said.get("health_status") or {}
            state = str(health.get("can_send_message", "UNKNOWN"))
            errors = [error for entity in health.get("entities") or [] for error in entity.get("errors") or []]
            told = "; ".join(str(error.get("error_description", "")) for error in errors)
            mend = "; ".join(filter(None, (str(error.get("possible_solution", "")) for error in errors)))
            if state == "AVAILABLE":
                yield Finding(name, "ok", "may send")
            else:
                grade: Literal["failed", "warning"] = "failed" if state == "BLOCKED" else "warning"
                yield Finding(name, grade, f"{state}: {told}".rstrip(": "), mend or "see Meta Business Support Home")

    def accounts(self, wabas: Iterable[str]) -> Iterator[Finding]:
        """Yield on whether each account sends its webhooks to an app."""
        for waba_id in wabas if self._access_token else ():
            status, said = self._get(f"{waba_id}/subscribed_apps", self._access_token)
            name = f"account {waba_id}"
            here = f"{self._base}/{waba_id}/subscribed_apps"
            subscribe = f'curl -X POST -H "Authorization: Bearer $META_ACCESS_TOKEN" {here}'
            if status != 200:
                yield _refused(name, status, said)
            elif not said.get("data"):
                yield Finding(name, "failed", "no app is subscribed to its webhooks", subscribe)
            else:
                apps = [one.get("whatsapp_business_api_data") or {} for one in said["data"]]
                ids = [str(one.get("id", "")) for one in apps]
                if self._app_id and self._app_id not in ids:
                    yield Finding(name, "failed", f"subscribed are {', '.join(ids)}, not {self._app_id}", subscribe)
                else:
                    yield Finding(name, "ok", f"subscribed: {', '.join(ids)}")

    def _clock(self) -> Finding:
        url = self._loaded.config.graph.url
        try:
            answer = _answer(self._loaded, HttpOptions(), url, method="HEAD")
            skew = time.time() - parsedate_to_datetime(answer.date).timestamp()
        except SendError as error:
            return Finding("Graph", "failed", f"{url} does not answer: {error.reason}", f"curl -v {url}")
        except ValueError:
            return Finding("clock", "skipped", "Graph's answer has no date")
        if abs(skew) > SKEW_SECONDS_MOST:
            return Finding("clock", "failed", f"{skew:+.0f} s beside Meta's", "systemctl restart systemd-timesyncd")
        return Finding("clock", "ok", "as Meta's")

    def _subscription(self, subscriptions: list[dict[str, Any]]) -> Iterator[Finding]:
        own = [one for one in subscriptions if one.get("object") == "whatsapp_business_account"]
        here = f"{self._base}/{self._app_id}/subscriptions"
        subscribe = (
            f"curl {here} -d access_token=APP_ID|APP_SECRET -d object=whatsapp_business_account "
            "-d callback_url=https://… -d verify_token=… -d fields=messages,account_update"
        )
        if not own:
            yield Finding("webhook", "failed", "the app is not subscribed to whatsapp_business_account", subscribe)
            return
        fields = {str(field.get("name", "")) for field in own[0].get("fields") or []}
        missing = sorted(FIELDS_NEEDED - fields)
        if missing:
            yield Finding("webhook fields", "warning", f"not subscribed: {', '.join(missing)}", subscribe)
        callback = str(own[0].get("callback_url", ""))
        path = self._loaded.config.webhook.path
        if urlsplit(callback).path != path:
            told = f"Meta posts to {callback}, webhook.path is {path}"
            yield Finding("webhook", "warning", told, f"set webhook.path, or subscribe again: {subscribe}")
        nonce = secrets.token_hex(8)
        token = self._loaded.verify_tokens[0].reveal()
        asked = urlencode({"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": nonce})
        try:
            answer = _answer(self._loaded, HttpOptions(), f"{callback}{'&' if '?' in callback else '?'}{asked}")
        except SendError as error:
            yield Finding("webhook", "failed", f"{callback} does not answer: {error.reason}", subscribe)
            return
        if answer.status == 200 and answer.body == nonce.encode():
            yield Finding("webhook", "ok", f"{callback} is this sidecar")
        else:
            told = f"{callback} answers {answer.status} and does not know our verify token"
            yield Finding("webhook", "failed", told, subscribe)

    def _get(self, path: str, token: str) -> tuple[int, dict[str, Any]]:
        try:
            answer = _answer(self._loaded, HttpOptions(), f"{self._base}/{path}", _bearer(token))
            said = json.loads(answer.body)
        except (SendError, ValueError, RecursionError):
            return 0, {}
        return answer.status, said if isinstance(said, dict) else {}


def _refused(name: str, status: int, said: dict[str, Any]) -> Finding:
    error = said.get("error") if isinstance(said.get("error"), dict) else {}
    code, message = error.get("code", ""), error.get("message", "")  # type: ignore[union-attr]
    told = f"Graph answers {status or 'nothing'} {f'({code}) {message}' if code else ''}".rstrip()
    mend = "make a new token of a system user with whatsapp_business_messaging and whatsapp_business_management"
    return Finding(name, "failed", told, f"whatsapp-monitor explain code {code}; {mend}" if code else mend)


def _targets(loaded: Loaded) -> Iterator[Finding]:
    """Yield on what the sidecar sends to: whether anybody listens there."""
    parts = loaded.config
    for number, target in enumerate(parts.alerts.alertmanagers):
        yield _asked(f"alertmanager {number}", f"{target.url.rstrip('/')}/-/ready", target, loaded, {200})
    for name, kind, told in destinations.named(parts):
        if kind != ALERTMANAGER and isinstance(told, Target):
            yield _asked(f"{kind} {name}", told.url, told, loaded, None)
        elif isinstance(told, Slack | Notifier):
            yield Finding(f"{kind} {name}", "skipped", "can't be asked without telling people something")
    for forward in parts.forward:
        yield _asked(f"forward {forward.name}", forward.url, forward, loaded, None)
    if parts.tracing.endpoint is not None:
        yield _asked("OTLP", f"{parts.tracing.endpoint.rstrip('/')}/v1/traces", HttpOptions(), loaded, None)


def _asked(name: str, url: str, target: HttpOptions, loaded: Loaded, wanted: set[int] | None) -> Finding:
    """Ask a target for nothing in particular: any answer shows that somebody listens, unless one is `wanted`."""
    look = f"curl -v {url}"
    try:
        status = _answer(loaded, target, url).status
    except (SendError, ValueError) as error:  # ValueError: a file has changed since it was read
        return Finding(name, "failed", f"{url} does not answer: {error}", look)
    if wanted is not None and status not in wanted:
        return Finding(name, "failed", f"{url} answers {status}", look)
    return Finding(name, "ok", f"{url} answers")


def _answer(
    loaded: Loaded, options: HttpOptions, url: str, further: dict[str, str] | None = None, *, method: str = "GET"
) -> Answer:
    """Ask as the sidecar does: within the time that it waits, and never in a network where nothing is sent."""

    async def asked() -> Answer:
        channel = Channel(options, loaded.directory, networks.parse(loaded.config.outbound.deny_networks))
        try:
            return await channel.ask(method, url, further or {})
        finally:
            await channel.close()

    return asyncio.run(asked())


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
