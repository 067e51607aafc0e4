"""The configuration file: YAML to one frozen record, or every mistake with its place."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import pydantic

from monitor import campaigns, codes, document, durations, rules, secrets
from monitor.campaigns import Naming
from monitor.codes import Catalogue
from monitor.document import Document, Mistake, Mistaken
from monitor.messages import DEFAULT_POLICY, Policy
from monitor.rules import RuleSet, Seconds
from monitor.secrets import Secret

_WRITTEN_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# YAML ends a plain text at a brace within [ ]; so each variable is read as private characters of the same width.
_VARIABLE = re.compile("\ue000\ue000([A-Za-z_][A-Za-z0-9_]*)\ue001")
_SHORT_SECRET = 16

SecretValue = Annotated[
    Secret,
    pydantic.PlainValidator(secrets.validated, json_schema_input_type=str),
    pydantic.PlainSerializer(str),
]
Name = Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL with a host")
    if parts.username or parts.password:
        raise ValueError("must not hold credentials; use basic_auth or authorization")
    return value


HttpUrl = Annotated[str, pydantic.AfterValidator(_http_url)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


PositiveSeconds = Annotated[Seconds, pydantic.Field(gt=0)]


def _duration_text(value: str) -> str:
    durations.parse(value)
    return value


class ResendAdvice(_Strict):
    """When a message that failed with a code may be sent again, and how often."""

    after: Annotated[str, pydantic.AfterValidator(lambda value: _duration_text(value))]
    most: Annotated[int, pydantic.Field(ge=1, le=16)] = 1


class Webhook(_Strict):
    """How Meta reaches us."""

    path: Annotated[str, pydantic.StringConstraints(pattern=r"^/[A-Za-z0-9._/-]{0,127}$")] = "/webhook"
    app_secrets: tuple[SecretValue, ...] = ()
    app_secrets_file: str | None = None
    verify_tokens: tuple[SecretValue, ...] = ()
    verify_tokens_file: str | None = None


class StoreConfig(_Strict):
    """Where the journal lives and how long what is done with is kept."""

    url: str = "sqlite:///data/monitor.db"
    retention: Annotated[Seconds, pydantic.Field(ge=3600)] = 8 * 86400.0

    @pydantic.field_validator("url")
    @classmethod
    def _is_sqlite(cls, value: str) -> str:
        if not value.startswith("sqlite:///") or len(value) == len("sqlite:///"):
            raise ValueError("must be sqlite:///PATH (relative to this file) or sqlite:////PATH (absolute)")
        return value


class RulesConfig(_Strict):
    """Which rule files are in force; names may hold wildcards and are relative to this file."""

    files: tuple[str, ...] = ("rules/monitor/core.yml",)


class BasicAuth(_Strict):
    """HTTP basic authentication, as in Prometheus' http_config."""

    username: str
    password: SecretValue | None = None
    password_file: str | None = None


class Authorization(_Strict):
    """The Authorization header, as in Prometheus' http_config."""

    type: str = "Bearer"
    credentials: SecretValue | None = None
    credentials_file: str | None = None


class TlsConfig(_Strict):
    """TLS towards a target, as in Prometheus' http_config."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False


class Target(_Strict):
    """An HTTP endpoint that we send to."""

    name: Name | None = None
    url: HttpUrl
    timeout: Annotated[Seconds, pydantic.Field(gt=0, le=120)] = 10.0
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: TlsConfig | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_identity(self) -> "Target":
        if self.basic_auth is not None and self.authorization is not None:
            raise ValueError("at most one of basic_auth and authorization")
        return self


class ForwardTarget(Target):
    """One of the application's own webhook receivers."""

    name: Name


class Alerts(_Strict):
    """Whom to tell."""

    external_url: HttpUrl = "http://127.0.0.1:9368"
    alertmanagers: tuple[Target, ...] = ()
    webhooks: tuple[Target, ...] = ()


class Sample(_Strict):
    """Which share of messages is traced: of those that failed, and of all."""

    failed: Annotated[float, pydantic.Field(ge=0, le=1)] = 1.0
    default: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.05


class Tracing(_Strict):
    """Where spans go."""

    endpoint: HttpUrl | None = None
    sample: Sample = Sample()


class Graph(_Strict):
    """Meta's Graph API."""

    url: HttpUrl = "https://graph.facebook.com"


class Web(_Strict):
    """Who may use the internal listener; without tokens anyone on this machine may, and it binds to loopback only."""

    operator_tokens: tuple[SecretValue, ...] = ()
    operator_tokens_file: str | None = None


class Privacy(_Strict):
    """The key of the hashes that stand for people; by default one is made beside the store."""

    key: SecretValue | None = None
    key_file: str | None = None


class CodeConfig(_Strict):
    """An error code that the shipped catalogue lacks, or what is different here of one that it has."""

    code: Annotated[int, pydantic.Field(ge=0)]
    title: str | None = None
    kind: Literal[codes.CLASSES] | None = pydantic.Field(default=None, alias="class")  # type: ignore[valid-type]
    hits: Literal[codes.HITS] | None = None  # type: ignore[valid-type]
    retryable: Literal[codes.RETRYABLE] | None = None  # type: ignore[valid-type]
    advice: str | None = None
    resend: ResendAdvice | None = None


class Messages(_Strict):
    """How long silence about a message may last."""

    time_to_live: dict[Literal["authentication", "utility", "marketing", "service", "other"], PositiveSeconds] = {}
    templates: dict[str, PositiveSeconds] = {}
    buffer: Seconds = 900.0
    settle: PositiveSeconds = 60.0
    silent_after: PositiveSeconds = 300.0
    check_every: PositiveSeconds = 10.0


class Campaigns(_Strict):
    """How a message's campaign is found, and how long after it a reply still counts."""

    callback_path: str | None = None
    callback_regex: str | None = None
    by_template: bool = True
    reply_within: PositiveSeconds = 86400.0
    retention: Annotated[Seconds, pydantic.Field(ge=3600)] = 90 * 86400.0

    @pydantic.field_validator("callback_path")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        reason = campaigns.compiles(value) if value is not None else ""
        if reason:
            raise ValueError(f"not a JSON path (RFC 9535): {reason}")
        return value

    @pydantic.field_validator("callback_regex")
    @classmethod
    def _is_a_regex(cls, value: str | None) -> str | None:
        return None if value is None else rules.expression(value)

    @pydantic.model_validator(mode="after")
    def _has_one_way(self) -> "Campaigns":
        if self.callback_path is not None and self.callback_regex is not None:
            raise ValueError("at most one of callback_path and callback_regex")
        return self


class Resends(_Strict):
    """Which messages are listed to be sent again, beside those that rules name."""

    from_catalogue: bool = True


class MetricsConfig(_Strict):
    """How long the series of numbers, templates and campaigns that went away are kept."""

    idle_after: Annotated[Seconds, pydantic.Field(gt=0)] = 14 * 86400.0


class Config(_Strict):
    """The whole file."""

    webhook: Webhook
    store: StoreConfig = StoreConfig()
    rules: RulesConfig = RulesConfig()
    forward: tuple[ForwardTarget, ...] = ()
    graph: Graph = Graph()
    alerts: Alerts = Alerts()
    tracing: Tracing = Tracing()
    web: Web = Web()
    privacy: Privacy = Privacy()
    codes: tuple[CodeConfig, ...] = ()
    messages: Messages = Messages()
    campaigns: Campaigns = Campaigns()
    resends: Resends = Resends()
    metrics: MetricsConfig = MetricsConfig()

    @pydantic.field_validator("forward")
    @classmethod
    def _names_differ(cls, value: tuple[ForwardTarget, ...]) -> tuple[ForwardTarget, ...]:
        names = [target.name for target in value]
        if len(set(names)) < len(names):
            raise ValueError("each forward needs a name of its own")
        return value


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that is right, with what it points to read: rules, secrets, files."""

    config: Config
    rule_set: RuleSet
    app_secrets: tuple[Secret, ...]
    verify_tokens: tuple[Secret, ...]
    operator_tokens: tuple[Secret, ...]
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
        config: Config = rules.validated(Config, read)
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
    operator_tokens = gather(("web", "operator_tokens"), web.operator_tokens, web.operator_tokens_file, is_needed=False)
    rule_set = RuleSet((), "")
    try:
        rule_set = rules.load(_rule_files(read, config.rules, directory))
    except Mistaken as error:
        mistakes.extend(error.mistakes)
    if mistakes:
        raise Mistaken(mistakes)
    warnings = tuple(
        read.mistake(("webhook", "app_secrets"), f"shorter than {_SHORT_SECRET} characters; Meta's app secrets have 32")
        for secret in app_secrets
        if len(secret.reveal()) < _SHORT_SECRET
    )
    store_path = (directory / config.store.url.removeprefix("sqlite:///")).resolve()
    return Loaded(config, rule_set, app_secrets, verify_tokens, operator_tokens, store_path, directory, warnings)


def _mistakes_of_rules(read: Document, directory: Path) -> tuple[Mistake, ...]:
    """Return what is wrong with the rules files of a configuration that is wrong elsewhere too."""
    part = read.value.get("rules", {}) if isinstance(read.value, dict) else {}
    try:
        rules.load(_rule_files(read, RulesConfig.model_validate(part), directory))
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
