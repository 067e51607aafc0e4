"""What is wrong with the targets of a configuration beyond their form: files, forbidden addresses, names."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pydantic

from monitor import files, identity, networks, secrets, services
from monitor.networks import Network
from monitor.secrets import Secret
from monitor.sections import Config
from monitor.targets import (
    Authorization,
    BasicAuth,
    Header,
    Notifier,
    Slack,
    TlsConfig,
    WebhookTarget,
    checked_url,
    is_signing_secret,
)

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
        yield from _of_secrets(place, section, directory, deny)
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
    """Yield the files of targets that can't be used; those of other sections are read where they are used."""
    if not place or place[0] not in {"alerts", "forward"}:
        return
    if isinstance(section, TlsConfig):
        try:
            identity.tls(section, directory)
        except ValueError as error:
            yield place, str(error)
        return
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name == "files":
            found = [((*place, name, number), file) for number, file in enumerate(value)]
        else:
            found = [((*place, name), value)] if name.endswith("_file") and value is not None else []
        for where, file in found:
            try:
                _read(section, directory / file)
            except ValueError as error:
                yield where, str(error)


def _read(section: pydantic.BaseModel, file: Path) -> None:
    match section:
        case Header() | Authorization():
            identity.header(file)
        case BasicAuth():
            files.text(file)
        case _:
            secrets.from_file(file)


def _of_addresses(place: Place, section: pydantic.BaseModel, deny: tuple[Network, ...]) -> Iterator[tuple[Place, str]]:
    for name in ("url", "proxy_url", "endpoint"):
        value = getattr(section, name, None)
        if isinstance(value, str) and (told := _forbidden(value, deny)):
            yield (*place, name), told


def _of_secrets(
    place: Place, section: pydantic.BaseModel, directory: Path, deny: tuple[Network, ...]
) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with secrets that have a form, without repeating them."""
    match section:
        case Slack():
            name = "api_url"
        case WebhookTarget():
            name = "secret"
        case Notifier():
            name = "url"
        case _:
            return
    value, file = getattr(section, name), getattr(section, f"{name}_file")
    try:
        secret = value if file is None else secrets.from_file(directory / file)[0]
    except ValueError:  # told as a file that can't be used
        return
    told = "" if secret is None else _malformed(section, secret, deny)
    if told:
        yield (*place, name if file is None else f"{name}_file"), told


def _malformed(section: Slack | WebhookTarget | Notifier, secret: Secret, deny: tuple[Network, ...]) -> str:
    try:
        match section:
            case Slack():
                return _forbidden(checked_url(secret.reveal()), deny)
            case WebhookTarget():
                return "" if is_signing_secret(secret.reveal()) else "must be whsec_ and at least 24 bytes in base64"
            case Notifier():
                services.made(secret.reveal())
    except ValueError as error:
        return str(error)
    return ""


def _forbidden(url: str, deny: tuple[Network, ...]) -> str:
    found = networks.forbidden(urlsplit(url).hostname or "", deny)
    return "" if found is None else f"lies in {found}, where outbound.deny_networks lets nothing be sent"
