"""What is wrong with the targets of a configuration beyond their form: files, forbidden addresses, names."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pydantic

from monitor import networks, services
from monitor.networks import Network
from monitor.sections import Config
from monitor.targets import Notifier, Slack, WebhookTarget, checked_url, is_signing_secret

Place = tuple[str | int, ...]


def faults(config: Config, directory: Path) -> Iterator[tuple[Place, str]]:
    """Yield the place and what is wrong there, in the order of the file."""
    deny = networks.parse(config.outbound.deny_networks)
    named: dict[Place, str] = {("forward", number): one.name for number, one in enumerate(config.forward)}
    for kind in type(config.alerts).model_fields:
        targets = getattr(config.alerts, kind)
        if isinstance(targets, tuple):
            named |= {("alerts", kind, number): one.name for number, one in enumerate(targets) if one.name}
    for place, section in _sections(config, ()):
        yield from _of_files(place, section, directory)
        yield from _of_addresses(place, section, deny)
        yield from _of_secrets(place, section, deny)
    counted = Counter(named.values())
    for own, name in named.items():
        if counted[name] > 1 and own[0] == "alerts":
            yield (*own, "name"), f"another destination has the name {name} too"


def _sections(section: pydantic.BaseModel, place: Place) -> Iterator[tuple[Place, pydantic.BaseModel]]:
    yield place, section
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, pydantic.BaseModel):
            yield from _sections(value, (*place, name))
        elif isinstance(value, tuple):
            for number, one in enumerate(value):
                if isinstance(one, pydantic.BaseModel):
                    yield from _sections(one, (*place, name, number))
        elif isinstance(value, dict):
            for key, one in value.items():
                if isinstance(one, pydantic.BaseModel):
                    yield from _sections(one, (*place, name, key))


def _of_files(place: Place, section: pydantic.BaseModel, directory: Path) -> Iterator[tuple[Place, str]]:
    """Yield the files of targets that can't be read; those of other sections are read where they are used."""
    if not place or place[0] not in {"alerts", "forward"}:
        return
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name == "files":
            found = [((*place, name, number), file) for number, file in enumerate(value)]
        else:
            found = [((*place, name), value)] if name.endswith("_file") and value is not None else []
        for where, file in found:
            try:
                (directory / file).read_bytes()
            except OSError as error:
                yield where, f"{directory / file} can't be read: {error.strerror}"


def _of_addresses(place: Place, section: pydantic.BaseModel, deny: tuple[Network, ...]) -> Iterator[tuple[Place, str]]:
    for name in ("url", "proxy_url"):
        value = getattr(section, name, None)
        if isinstance(value, str) and (told := _forbidden(value, deny)):
            yield (*place, name), told


def _of_secrets(place: Place, section: pydantic.BaseModel, deny: tuple[Network, ...]) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with secrets that have a form, without repeating them."""
    match section:
        case Slack(api_url=secret) if secret is not None:
            try:
                told = _forbidden(checked_url(secret.reveal()), deny)
            except ValueError as error:
                told = str(error)
            if told:
                yield (*place, "api_url"), told
        case WebhookTarget(secret=secret) if secret is not None and not is_signing_secret(secret.reveal()):
            yield (*place, "secret"), "must be whsec_ and at least 24 bytes in base64"
        case Notifier(url=secret) if secret is not None:
            try:
                services.made(secret.reveal())
            except ValueError as error:
                yield (*place, "url"), str(error)


def _forbidden(url: str, deny: tuple[Network, ...]) -> str:
    found = networks.forbidden(urlsplit(url).hostname or "", deny)
    return "" if found is None else f"lies in {found}, where outbound.deny_networks lets nothing be sent"
