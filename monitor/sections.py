"""The sections of the configuration file, each as strict as the file: unknown keys are mistakes."""

from typing import Annotated, Any, Literal

import pydantic

from monitor import campaigns, codes, durations, vocabulary
from monitor.targets import Alerts, ForwardTarget, HttpUrl, Outbound, SecretValue, Strict
from monitor.vocabulary import Seconds

PositiveSeconds = Annotated[Seconds, pydantic.Field(gt=0)]


def _duration_text(value: str) -> str:
    durations.parse(value)
    return value


class ResendAdvice(Strict):
    """When a message that failed with a code may be sent again, and how often."""

    after: Annotated[str, pydantic.AfterValidator(lambda value: _duration_text(value))]
    most: Annotated[int, pydantic.Field(ge=1, le=16)] = 1


class Webhook(Strict):
    """How Meta reaches us."""

    path: Annotated[str, pydantic.StringConstraints(pattern=r"^/[A-Za-z0-9._/-]{0,127}$")] = "/webhook"
    app_secrets: tuple[SecretValue, ...] = ()
    app_secrets_file: str | None = None
    verify_tokens: tuple[SecretValue, ...] = ()
    verify_tokens_file: str | None = None


class StoreConfig(Strict):
    """Where the journal lives and how long what is done with is kept."""

    url: str = "sqlite:///data/monitor.db"
    retention: Annotated[Seconds, pydantic.Field(ge=3600)] = 8 * 86400.0
    body_retention: Annotated[Seconds, pydantic.Field(ge=60)] | None = None
    history_retention: Annotated[Seconds, pydantic.Field(ge=86400)] | None = None
    keep_free: Annotated[pydantic.ByteSize, pydantic.Field(ge=0)] = pydantic.ByteSize(64 * 1024 * 1024)

    @pydantic.field_validator("url")
    @classmethod
    def _is_sqlite(cls, value: str) -> str:
        if not value.startswith("sqlite:///") or len(value) == len("sqlite:///"):
            raise ValueError("must be sqlite:///PATH (relative to this file) or sqlite:////PATH (absolute)")
        return value


class RulesConfig(Strict):
    """Which rule files are in force; names may hold wildcards and are relative to this file."""

    files: tuple[str, ...] = ("rules/monitor/core.yml",)


class Sample(Strict):
    """Which share of messages is traced: of those that failed, and of all."""

    failed: Annotated[float, pydantic.Field(ge=0, le=1)] = 1.0
    default: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.05


class Tracing(Strict):
    """Where spans go."""

    endpoint: HttpUrl | None = None
    sample: Sample = Sample()


class Duplicates(Strict):
    """What the egress proxy does about the same message to the same person within a while, where it has no key."""

    mode: Literal["off", "shadow", "enforce"] = "shadow"
    within: Annotated[Seconds, pydantic.Field(gt=0, le=3600)] = 60.0


class Graph(Strict):
    """Meta's Graph API, where the egress proxy sends.

    `mark_sends` says which sends carry a token of ours, by which a status tells what became of them: those with an
    Idempotency-Key, all, or none.
    """

    url: HttpUrl = "https://graph.facebook.com"
    timeout: Annotated[Seconds, pydantic.Field(gt=0, le=600)] = 60.0
    connect_timeout: Annotated[Seconds, pydantic.Field(gt=0, le=60)] = 5.0
    mark_sends: Literal["keyed", "always", "never"] = "keyed"
    duplicates: Duplicates = Duplicates()


class Web(Strict):
    """Who may use the internal listener; without tokens or users anyone here may, and it binds to loopback only.

    A token may have a name before it, which then stands in the audit, and may be given as sha256: and its digest.
    """

    viewer_tokens: tuple[SecretValue, ...] = ()
    viewer_tokens_file: str | None = None
    operator_tokens: tuple[SecretValue, ...] = ()
    operator_tokens_file: str | None = None
    admin_tokens: tuple[SecretValue, ...] = ()
    admin_tokens_file: str | None = None
    users: dict[str, Literal["viewer", "operator", "admin"]] = pydantic.Field(default_factory=dict)
    hosts: tuple[str, ...] = ()


class Privacy(Strict):
    """The keys of the hashes that stand for people: the first makes them, older ones still find what they made.

    By default one is made beside the store.
    """

    keys: tuple[SecretValue, ...] = ()
    keys_file: str | None = None


class CodeConfig(Strict):
    """An error code that the shipped catalogue lacks, or what is different here of one that it has."""

    code: Annotated[int, pydantic.Field(ge=0)]
    title: str | None = None
    kind: Literal[codes.CLASSES] | None = pydantic.Field(default=None, alias="class")  # type: ignore[valid-type]
    hits: Literal[codes.HITS] | None = None  # type: ignore[valid-type]
    retryable: Literal[codes.RETRYABLE] | None = None  # type: ignore[valid-type]
    meaning: str | None = None
    advice: str | None = None
    resend: ResendAdvice | None = None


class Messages(Strict):
    """How long silence about a message may last, and how long what became of it is kept."""

    retention: Annotated[Seconds, pydantic.Field(ge=3600)] | None = None
    time_to_live: dict[Literal["authentication", "utility", "marketing", "service", "other"], PositiveSeconds] = (
        pydantic.Field(default_factory=dict)
    )
    templates: dict[str, PositiveSeconds] = pydantic.Field(default_factory=dict)
    buffer: Seconds = 900.0
    settle: PositiveSeconds = 60.0
    silent_after: PositiveSeconds = 300.0
    check_every: PositiveSeconds = 10.0


class Campaigns(Strict):
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
        return None if value is None else vocabulary.expression(value)

    @pydantic.model_validator(mode="after")
    def _has_one_way(self) -> "Campaigns":
        if self.callback_path is not None and self.callback_regex is not None:
            raise ValueError("at most one of callback_path and callback_regex")
        return self


class Resends(Strict):
    """Which messages are listed to be sent again, beside those that rules name."""

    from_catalogue: bool = True


class MetricsConfig(Strict):
    """How many series there may be, and how long those of numbers, templates and campaigns that went away are kept."""

    series_most: Annotated[int, pydantic.Field(ge=2_000, le=200_000)] = 5_000
    idle_after: Annotated[Seconds, pydantic.Field(gt=0)] = 14 * 86400.0


_OnError = Literal["allow", "deny"]


class OnError(Strict):
    """What the gate answers in each lane while it can't tell: `all` is for what no other lane holds."""

    all: _OnError = "deny"
    business_initiated: _OnError = "deny"
    marketing: _OnError = "deny"


def _same_in_all(value: Any) -> Any:
    return dict.fromkeys(OnError.model_fields, value) if isinstance(value, str) else value


class GateConfig(Strict):
    """How the gate answers when it can't tell, and whether Meta's own word on account and templates stops sending.

    It can't tell before what stands is loaded, or when its own code fails.
    """

    follow_meta: bool = True

    on_error: Annotated[OnError, pydantic.BeforeValidator(_same_in_all, json_schema_input_type=OnError | _OnError)] = (
        OnError()
    )


class Config(Strict):
    """The whole file."""

    webhook: Webhook
    store: StoreConfig = StoreConfig()
    rules: RulesConfig = RulesConfig()
    forward: tuple[ForwardTarget, ...] = ()
    graph: Graph = Graph()
    alerts: Alerts = Alerts()
    outbound: Outbound = Outbound()
    tracing: Tracing = Tracing()
    web: Web = Web()
    privacy: Privacy = Privacy()
    codes: tuple[CodeConfig, ...] = ()
    messages: Messages = Messages()
    campaigns: Campaigns = Campaigns()
    resends: Resends = Resends()
    metrics: MetricsConfig = MetricsConfig()
    gate: GateConfig = GateConfig()

    @pydantic.field_validator("forward")
    @classmethod
    def _names_differ(cls, value: tuple[ForwardTarget, ...]) -> tuple[ForwardTarget, ...]:
        names = [target.name for target in value]
        if len(set(names)) < len(names):
            raise ValueError("each forward needs a name of its own")
        return value
