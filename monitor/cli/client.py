"""Speaking to a running sidecar: the options, and the call."""

import getpass
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import httpx2

from monitor import channels, identity
from monitor.targets import Target

FAILED = 1
url_option = click.option(
    "--url",
    default="http://127.0.0.1:9368",
    show_default=True,
    envvar="WHATSAPP_MONITOR_URL",
    help="The sidecar's internal listener.",
)
token_option = click.option(
    "--token", envvar="WHATSAPP_MONITOR_TOKEN", help="Operator token; better given as WHATSAPP_MONITOR_TOKEN."
)
actor_option = click.option(
    "--actor",
    default=lambda: _me(),
    show_default="you",
    help="Who acts, for the audit.",
)
reason_option = click.option("--reason", required=True, help="Why, for the audit.")


def call(
    method: str,
    url: str,
    path: str,
    token: str | None,
    body: dict[str, Any] | None = None,
    timeout_seconds: float = 10,
) -> dict[str, Any]:
    """Return the answer of a running sidecar; print what is wrong and exit where there is none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx2.request(
            method,
            url.rstrip("/") + path,
            json=body,
            headers=headers,
            timeout=timeout_seconds,
            trust_env=False,
            verify=trusted(),
        )
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        click.echo(f"whatsapp-monitor: {url} does not answer as a sidecar: {error}", err=True)
        sys.exit(FAILED)
    value = _record(answer)
    if answer.is_success and value is not None:
        return value
    for reason in refusals(answer, token):
        click.echo(f"whatsapp-monitor: {reason}", err=True)
    sys.exit(FAILED)


def refusals(answer: httpx2.Response, token: str | None) -> list[str]:
    """Return why a sidecar refuses, and what mends it where that is another token."""
    value = _record(answer)
    if value is None:
        return [f"{answer.url} does not answer as a sidecar: status {answer.status_code}"]
    mistakes = value.get("mistakes")
    if isinstance(mistakes, list) and mistakes:
        return list(map(str, mistakes))
    error = value.get("error")
    told = value.get("message") or error or f"status {answer.status_code}"
    if answer.status_code == 401:
        wrong = "the token is not known" if token else "a token is needed"
        return [f"{told}: {wrong}: give one with --token or WHATSAPP_MONITOR_TOKEN"]
    if answer.status_code == 403 and error == "forbidden":
        return [f"{told}: another role is needed: give its token with --token or WHATSAPP_MONITOR_TOKEN"]
    return [str(told)]


def trusted() -> ssl.SSLContext | bool:
    """Return whom a sidecar's certificate may be signed by, and what we prove ourselves with, as the environment says.

    Print what is wrong and exit where a file can't be used.
    """
    authority, certificate, key = (os.environ.get(f"WHATSAPP_MONITOR_{name}_FILE") for name in ("CA", "CERT", "KEY"))
    if not authority and not certificate:
        return True
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        click.echo(f"whatsapp-monitor: WHATSAPP_MONITOR_CA_FILE, _CERT_FILE or _KEY_FILE: {error}", err=True)
        sys.exit(FAILED)
    return context


def of_target(target: Target, directory: Path) -> httpx2.Client:
    """Return a client that is to a target what the sidecar is: identity, TLS, proxy and deadline."""
    return httpx2.Client(
        headers=identity.headers(target, directory),
        verify=identity.tls(target.tls_config, directory),
        timeout=target.timeout,
        proxy=channels.proxy_of(target, target.url),
        follow_redirects=False,
        trust_env=False,
    )


def pages(url: str, path: str, token: str | None, name: str) -> list[dict[str, Any]]:
    """Return the records of all pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = call("GET", url, f"{path}&cursor={quote(cursor)}", token)
        found.extend(answer[name])
        cursor = answer["next_cursor"]
        if not cursor:
            return found


def quoted(text: str) -> str:
    """Return a text as part of a query."""
    return quote(text, safe="")


def _record(answer: httpx2.Response) -> dict[str, Any] | None:
    try:
        value = answer.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _me() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}@{socket.gethostname()}"
