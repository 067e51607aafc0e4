"""The configuration file: YAML to one frozen record, or every mistake with its place."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pydantic

from monitor import codes, document, rule_files, secrets, target_checks, validation
from monitor.campaigns import Naming
from monitor.codes import Catalogue
from monitor.document import Document, Mistake, Mistaken
from monitor.messages import DEFAULT_POLICY, Policy
from monitor.roles import Granted, Role
from monitor.rules import RuleSet
from monitor.secrets import Secret
from monitor.sections import Config, RulesConfig

_WRITTEN_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# YAML ends a plain text at a brace within [ ]; so each variable is read as private characters of the same width.
_VARIABLE = re.compile("\ue000\ue000([A-Za-z_][A-Za-z0-9_]*)\ue001")
_SHORT_SECRET = 16


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that is right, with what it points to read: rules, secrets, files."""

    config: Config
    rule_set: RuleSet
    app_secrets: tuple[Secret, ...]
    verify_tokens: tuple[Secret, ...]
    tokens: tuple[Granted, ...]
    store_path: Path
    directory: Path
    warnings: tuple[Mistake, ...] = ()

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

    def hash_key(self) -> bytes:
        """Return the key for keyed hashes, made beside the store at the first use."""
        privacy = self.config.privacy
        if privacy.key is not None:
            return privacy.key.reveal().encode()[:64]
        if privacy.key_file is not None:
            return secrets.from_file(self.directory / privacy.key_file)[0].reveal().encode()[:64]
        return secrets.kept(self.store_path.with_name("hash.key"))[:64]


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read the configuration and the rules that it names; raise Mistaken with every mistake of all files."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise Mistaken([Mistake(str(path), 0, 0, "", f"can't be read: {error.strerror}")]) from None
    mistakes: list[Mistake] = []
    marked = _WRITTEN_VARIABLE.sub("\ue000\ue000\\1\ue001", text.decode("utf-8", "surrogateescape"))
    text = marked.encode("utf-8", "surrogateescape")
    read = _with_variables(document.read(text, str(path)), environment, mistakes)
    directory = path.resolve().parent
    try:
        config: Config = validation.validated(Config, read)
    except Mistaken as error:
        mistakes.extend(error.mistakes)
        mistakes.extend(_mistakes_of_rules(read, directory))
        raise Mistaken(mistakes) from None

    def gather(
        where: tuple[str, ...], values: tuple[Secret, ...], file: str | None, *, is_needed: bool
    ) -> tuple[Secret, ...]:
        found = values
        if file is not None:
            try:
                found = (*found, *secrets.from_file(directory / file))
            except ValueError as error:
                mistakes.append(read.mistake((*where[:-1], f"{where[-1]}_file"), str(error)))
        if is_needed and not found and file is None:
            mistakes.append(read.mistake(where, f"required: at least one, here or in {where[-1]}_file"))
        return found

    hook, web = config.webhook, config.web
    app_secrets = gather(("webhook", "app_secrets"), hook.app_secrets, hook.app_secrets_file, is_needed=True)
    verify_tokens = gather(("webhook", "verify_tokens"), hook.verify_tokens, hook.verify_tokens_file, is_needed=True)
    viewers = gather(("web", "viewer_tokens"), web.viewer_tokens, web.viewer_tokens_file, is_needed=False)
    operators = gather(("web", "operator_tokens"), web.operator_tokens, web.operator_tokens_file, is_needed=False)
    admins = gather(("web", "admin_tokens"), web.admin_tokens, web.admin_tokens_file, is_needed=False)
    rule_set = RuleSet((), "")
    doubts: tuple[Mistake, ...] = ()
    try:
        found = rule_files.read(_rule_files(read, config.rules, directory))
        rule_set, doubts = found.rule_set, found.warnings
    except Mistaken as error:
        mistakes.extend(error.mistakes)
    mistakes.extend(_unknown_webhooks(config, rule_set))
    mistakes.extend(read.mistake(path, told) for path, told in target_checks.faults(config, directory))
    if mistakes:
        raise Mistaken(mistakes)
    warnings = tuple(
        read.mistake(("webhook", "app_secrets"), f"shorter than {_SHORT_SECRET} characters; Meta's app secrets have 32")
        for secret in app_secrets
        if len(secret.reveal()) < _SHORT_SECRET
    )
    warnings = (*warnings, *doubts)
    store_path = (directory / config.store.url.removeprefix("sqlite:///")).resolve()
    return Loaded(
        config,
        rule_set,
        app_secrets,
        verify_tokens,
        _granted(viewers, operators, admins),
        store_path,
        directory,
        warnings,
    )


def _granted(viewers: Sequence[Secret], operators: Sequence[Secret], admins: Sequence[Secret]) -> tuple[Granted, ...]:
    """Return who may do what; operators do everything where nobody is named as admin."""
    acting = Role.OPERATOR if admins else Role.ADMIN
    roles = ((viewers, Role.VIEWER), (operators, acting), (admins, Role.ADMIN))
    return tuple(Granted(secret, role) for secrets_of, role in roles for secret in secrets_of)


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


def _mistakes_of_rules(read: Document, directory: Path) -> tuple[Mistake, ...]:
    """Return what is wrong with the rules files of a configuration that is wrong elsewhere too."""
    part = read.value.get("rules", {}) if isinstance(read.value, dict) else {}
    try:
        rule_files.load(_rule_files(read, RulesConfig.model_validate(part), directory))
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
        files = [file for file in sorted(base.glob(parts)) if not file.stem.endswith("_test")]
        if not files:
            mistakes.append(read.mistake(("rules", "files", number), f"no rules file matches {base / parts}"))
        for file in files:
            try:
                found[file] = file.read_bytes()
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
            if found[1] not in environment:
                mistakes.append(read.mistake(path, f"the environment variable {found[1]} is not set"))
            return environment.get(found[1], f"${{{found[1]}}}")

        return _VARIABLE.sub(look_up, value)

    value = replaced(read.value if read.value is not None else {}, ())
    return Document(read.file, value, read.places)
