"""The configuration file: YAML to one frozen record, or every mistake with its place."""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pydantic

from monitor import (
    certificates,
    codes,
    document,
    durations,
    engine,
    roles,
    rule_files,
    secrets,
    target_checks,
    validation,
    web_file,
)
from monitor.campaigns import Naming
from monitor.codes import Catalogue
from monitor.document import Document, Mistake, Mistaken, Reader
from monitor.messages import DEFAULT_POLICY, Policy
from monitor.roles import Granted, Role
from monitor.rules import RuleSet
from monitor.secrets import Secret
from monitor.sections import Config, RulesConfig, Web
from monitor.web_file import WebFile

_WRITTEN_VARIABLE = re.compile(rb"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# YAML ends a plain text at a brace within [ ]; so each variable is read as private characters of the same width.
_READ_VARIABLE = "\ue000\ue000\\1\ue001".encode()
_VARIABLE = re.compile("\ue000\ue000([A-Za-z_][A-Za-z0-9_]*)\ue001")
_SHORT_SECRET = 16
RULES_SUFFIXES = (".yml", ".yaml")
HASH_KEY = "hash.key"  # beside the store
HASH_KEY_MOST = 64  # bytes that BLAKE2 takes


class Entrance(msgspec.Struct, frozen=True):
    """A listener's web configuration file, None where it has none, and what stands in it."""

    path: Path | None = None
    file: WebFile = WebFile()

    @property
    def directory(self) -> Path:
        """What the names of its files are relative to."""
        return Path() if self.path is None else self.path.resolve().parent


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that is right, with what it points to read: rules, secrets, files."""

    config: Config
    rule_set: RuleSet
    app_secrets: tuple[Secret, ...]
    verify_tokens: tuple[Secret, ...]
    granted: tuple[Granted, ...]
    store_path: Path
    directory: Path
    hash_secrets: tuple[Secret, ...]
    warnings: tuple[Mistake, ...] = ()
    web: Entrance = Entrance()
    webhook: Entrance = Entrance()
    must_be_closed: bool = False
    """Whether the internal listener can be reached from other machines, and nobody said that this is wanted so."""

    @property
    def is_closed(self) -> bool:
        """Whether nobody enters the internal listener without a token, a password or a certificate."""
        return bool(self.granted) or self.web.file.is_closed

    def policy(self) -> Policy:
        """Return how long silence about a message may last."""
        part = self.config.messages
        lifetimes = dict(DEFAULT_POLICY.time_to_live)
        lifetimes.update({str(category): seconds for category, seconds in part.time_to_live.items()})
        lifetimes[""] = lifetimes.pop("other", lifetimes[""])
        return Policy(lifetimes, part.templates, part.buffer, settle_seconds=part.settle)

    def naming(self) -> Naming:
        """Return how a message's campaign is found."""
        part = self.config.campaigns
        return Naming(part.callback_path or "", part.callback_regex or "", part.by_template)

    def catalogue(self) -> Catalogue:
        """Return the error codes with what this configuration says of them."""
        return codes.catalogue([one.model_dump(by_alias=True, exclude_none=True) for one in self.config.codes])

    def hash_keys(self) -> tuple[bytes, ...]:
        """Return the keys for keyed hashes, the one in force first; made beside the store at the first use."""
        found = self.hash_secrets or secrets.kept(self.store_path.with_name(HASH_KEY))
        return tuple(secret.reveal().encode()[:HASH_KEY_MOST] for secret in found)

    def hash_key(self) -> bytes:
        """Return the key in force."""
        return self.hash_keys()[0]


def load(
    path: Path,
    environment: Mapping[str, str] = os.environ,
    web_path: Path | None = None,
    webhook_path: Path | None = None,
    reader: Reader = document.read,
) -> Loaded:
    """Read the configuration, what it names and how the listeners are entered; `reader` makes sense of each text.

    Raise Mistaken with every mistake of all files.
    """
    mistakes: list[Mistake] = []
    read = _read(path, environment, mistakes, reader)
    directory = path.resolve().parent
    try:
        config: Config = validation.validated(Config, read)
    except Mistaken as error:
        mistakes.extend(error.mistakes)
        mistakes.extend(_mistakes_of_rules(read, directory, reader))
        raise Mistaken(mistakes) from None

    hook, web = config.webhook, config.web
    gather = functools.partial(_gathered, read, directory, mistakes)
    app_secrets = gather(("webhook", "app_secrets"), hook.app_secrets, hook.app_secrets_file, is_needed=True)
    verify_tokens = gather(("webhook", "verify_tokens"), hook.verify_tokens, hook.verify_tokens_file, is_needed=True)
    hash_secrets = gather(("privacy", "keys"), config.privacy.keys, config.privacy.keys_file)
    entrances = [_entrance(web_path, mistakes, reader), _entrance(webhook_path, mistakes, reader)]
    if entrances[1].file.basic_auth_users:
        mistakes.append(Mistake(str(webhook_path), 0, 0, "basic_auth_users", "Meta signs its webhooks, and knows none"))
    granted = (*_tokens(read, web, gather, mistakes), *_users(read, web.users, entrances[0], mistakes))
    rules = _rules(read, config, directory, mistakes, reader)
    mistakes.extend(_unknown_webhooks(config, rules.rule_set))
    mistakes.extend(read.mistake(path, told) for path, told in target_checks.faults(config, directory))
    store_path = (directory / config.store.url.removeprefix("sqlite:///")).resolve()
    if not config.privacy.keys and config.privacy.keys_file is None:
        mistakes.extend(_of_made_key(read, store_path.with_name(HASH_KEY)))
    if mistakes:
        raise Mistaken(mistakes)
    short_secrets = _short(read, ("webhook", "app_secrets"), app_secrets, "; Meta's app secrets have 32")
    short_keys = _short(read, ("privacy", "keys"), hash_secrets, ": numbers can be found by trying")
    return Loaded(
        config=config,
        rule_set=rules.rule_set,
        app_secrets=app_secrets,
        verify_tokens=verify_tokens,
        granted=granted,
        store_path=store_path,
        directory=directory,
        hash_secrets=hash_secrets,
        warnings=(*short_secrets, *short_keys, *_forgetful(read, config, rules.rule_set), *rules.warnings),
        web=entrances[0],
        webhook=entrances[1],
    )


def _read(path: Path, environment: Mapping[str, str], mistakes: list[Mistake], reader: Reader) -> Document:
    """Return what stands in the file, its variables replaced; those that are not set join the mistakes."""
    try:
        text = document.content(path)
    except OSError as error:
        raise Mistaken([Mistake(str(path), 0, 0, "", f"can't be read: {error.strerror}")]) from None
    return _with_variables(reader(_WRITTEN_VARIABLE.sub(_READ_VARIABLE, text), str(path)), environment, mistakes)


def _rules(read: Document, config: Config, directory: Path, mistakes: list[Mistake], reader: Reader) -> rule_files.Read:
    """Return the rules that the configuration names; what is wrong with them joins the mistakes."""
    try:
        return rule_files.read(_rule_files(read, config.rules, directory), reader)
    except Mistaken as error:
        mistakes.extend(error.mistakes)
        return rule_files.Read(RuleSet((), ""), ())


def _gathered(
    read: Document,
    directory: Path,
    mistakes: list[Mistake],
    where: tuple[str, ...],
    values: tuple[Secret, ...],
    file: str | None,
    *,
    is_needed: bool = False,
) -> tuple[Secret, ...]:
    """Return secrets that are written down and those of a file; what is wrong joins the mistakes."""
    found = values
    if file is not None:
        try:
            found = (*found, *secrets.from_file(directory / file))
        except ValueError as error:
            mistakes.append(read.mistake((*where[:-1], f"{where[-1]}_file"), str(error)))
    if is_needed and not found and file is None:
        mistakes.append(read.mistake(where, f"required: at least one, here or in {where[-1]}_file"))
    return found


def _of_made_key(read: Document, path: Path) -> Iterator[Mistake]:
    """Yield what is wrong with the key of the hashes that was made beside the store, if one was."""
    try:
        if path.exists():
            secrets.from_file(path)
    except (OSError, ValueError) as error:
        yield read.mistake(("privacy", "keys"), f"{error}; where it is lost, removing it begins with a new key")


def _tokens(
    read: Document, web: Web, gather: Callable[..., tuple[Secret, ...]], mistakes: list[Mistake]
) -> Iterator[Granted]:
    """Yield what tokens grant: operators do everything where nobody is named as admin."""
    acting = Role.OPERATOR if web.admin_tokens or web.admin_tokens_file else Role.ADMIN
    for where, role in (("viewer_tokens", Role.VIEWER), ("operator_tokens", acting), ("admin_tokens", Role.ADMIN)):
        inline, file = getattr(web, where), getattr(web, f"{where}_file")
        for line in gather(("web", where), inline, file):
            try:
                yield roles.granted(line.reveal(), role)
            except ValueError as error:
                mistakes.append(read.mistake(("web", where if line in inline else f"{where}_file"), str(error)))


def _short(read: Document, where: tuple[str, ...], found: tuple[Secret, ...], why: str) -> Iterator[Mistake]:
    """Yield a warning for each secret that is short."""
    for secret in found:
        if len(secret.reveal()) < _SHORT_SECRET:
            yield read.mistake(where, f"shorter than {_SHORT_SECRET} characters{why}")


def _entrance(path: Path | None, mistakes: list[Mistake], reader: Reader) -> Entrance:
    """Return how a listener is entered; what is wrong with its file joins the mistakes."""
    if path is None:
        return Entrance()
    try:
        found = Entrance(path, web_file.read(path, reader))
    except Mistaken as error:
        mistakes.extend(error.mistakes)
        return Entrance(path)
    tls = found.file.tls_server_config
    if tls is not None:
        try:
            certificates.context(tls, found.directory)
        except ValueError as error:
            mistakes.append(Mistake(str(path), 0, 0, "tls_server_config", str(error)))
    return found


def _users(read: Document, named: Mapping[str, str], entrance: Entrance, mistakes: list[Mistake]) -> Iterator[Granted]:
    """Yield the users of the web configuration file: viewers, but for those that `web.users` says otherwise of."""
    users = entrance.file.basic_auth_users
    for name in named if entrance.path is not None else ():
        if name not in users:
            told = validation.with_guess("--web.config.file has no user of this name", name, list(users))
            mistakes.append(read.mistake(("web", "users", name), told))
    for name, found in users.items():
        yield Granted(found.reveal().encode(), Role[named.get(name, "viewer").upper()], name, is_user=True)


def _unknown_webhooks(config: Config, rule_set: RuleSet) -> Iterator[Mistake]:
    """Yield the rules whose `webhook:` names none of the configured ones."""
    known = [target.name or f"webhook_{number}" for number, target in enumerate(config.alerts.webhooks)]
    for rule in rule_set.rules:
        file, line, column = rule.place.rsplit(":", 2)
        for action in rule.actions:
            if action.webhook is not None and action.webhook.to not in known:
                told = validation.with_guess(
                    f"alerts.webhooks has none named {action.webhook.to}", action.webhook.to, known
                )
                yield Mistake(file, int(line), int(column), f"{rule.name}.actions.webhook.to", told)


def _forgetful(read: Document, config: Config, rule_set: RuleSet) -> Iterator[Mistake]:
    """Yield a warning where rules look further back than webhooks are kept."""
    kept_seconds = config.store.retention if config.store.body_retention is None else config.store.body_retention
    back_seconds = engine.plan(rule_set, codes.catalogue([])).errors_horizon_seconds
    if back_seconds > kept_seconds:
        told = f"rules look {durations.text(back_seconds)} back: what is gone by then does not count after a restart"
        name = "retention" if config.store.body_retention is None else "body_retention"
        yield read.mistake(("store", name), told)


def _mistakes_of_rules(read: Document, directory: Path, reader: Reader) -> tuple[Mistake, ...]:
    """Return what is wrong with the rules files of a configuration that is wrong elsewhere too."""
    part = read.value.get("rules", {}) if isinstance(read.value, dict) else {}
    try:
        rule_files.load(_rule_files(read, RulesConfig.model_validate(part), directory), reader)
    except pydantic.ValidationError:
        return ()
    except Mistaken as error:
        return error.mistakes
    return ()


def _rule_files(read: Document, part: RulesConfig, directory: Path) -> list[tuple[str, bytes]]:
    """Return name and text of each rules file; test files beside them (`*_test.yml`) are left out."""
    found: dict[Path, bytes] = {}
    mistakes: list[Mistake] = []
    for number, pattern in enumerate(part.files):
        base, parts = (Path("/"), pattern.lstrip("/")) if pattern.startswith("/") else (directory, pattern)
        try:
            matching = sorted(base.glob(parts))
        except (ValueError, IndexError, OSError, RecursionError):  # what pathlib makes of "", ".", "**x" or */ repeated
            mistakes.append(
                read.mistake(("rules", "files", number), f"not a pattern of files: {validation.plain(pattern)}")
            )
            continue
        files = [file for file in matching if not file.stem.endswith("_test")]
        if not files:
            told = f"no rules file matches {base / parts}{'; tests (`*_test.yml`) are left out' if matching else ''}"
            mistakes.append(read.mistake(("rules", "files", number), told))
        for file in files:
            if file.suffix not in RULES_SUFFIXES:  # what is wrong with a file is told with its words
                told = f"{file} is no rules file: its name does not end in {' or '.join(RULES_SUFFIXES)}"
                mistakes.append(read.mistake(("rules", "files", number), told))
                continue
            if file.is_fifo() or file.is_char_device():  # of a pipe nothing comes, of a device no end
                mistakes.append(read.mistake(("rules", "files", number), f"{file} is no file"))
                continue
            try:
                found[file] = document.content(file)
            except OSError as error:
                mistakes.append(read.mistake(("rules", "files", number), f"{file} can't be read: {error.strerror}"))
    if mistakes:
        raise Mistaken(mistakes)
    return [(_shown(file), text) for file, text in found.items()]


def _shown(file: Path) -> str:
    """Return a path as a person would write it from here."""
    near = os.path.relpath(file)
    return str(file) if near.startswith("..") else near


def _with_variables(read: Document, environment: Mapping[str, str], mistakes: list[Mistake]) -> Document:
    """Return the document with each ${NAME} replaced; those that are not set join the mistakes and stay as written."""

    def replaced(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {key: replaced(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner, (*path, number)) for number, inner in enumerate(value)]
        if not isinstance(value, str) or "\ue000" not in value:
            return value

        def look_up(found: re.Match[str]) -> str:
            text = environment.get(found[1])
            if text is None or document.SURROGATE.search(text):  # bytes that are no UTF-8 stand as halves of pairs
                told = "is not set" if text is None else "is not UTF-8"
                mistakes.append(read.mistake(path, f"the environment variable {found[1]} {told}"))
                return f"${{{found[1]}}}"
            return text

        return _VARIABLE.sub(look_up, value)

    value = replaced(read.value if read.value is not None else {}, ())
    return Document(read.file, value, read.places)
