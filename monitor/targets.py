"""Where things are sent to, as the configuration writes it; options of HTTP are named as in Prometheus' http_config."""

import base64
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic

from monitor import networks, secrets
from monitor.secrets import Secret
from monitor.vocabulary import Seconds

SecretValue = Annotated[
    Secret,
    pydantic.PlainValidator(secrets.validated, json_schema_input_type=str),
    pydantic.PlainSerializer(str),
]
Name = Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
HeaderName = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
Severity = Literal["critical", "warning", "info"]
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
_NO_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # would end it, or begin another one
_NO_URL = re.compile(r"[\x00-\x20\x7f]")
# What we set ourselves, or what says how the body is framed.
_OUR_HEADERS = frozenset(
    {"authorization", "host", "content-length", "content-type", "transfer-encoding", "connection", "user-agent",
     "x-hub-signature-256", "x-monitor-delivery", "webhook-id", "webhook-timestamp", "webhook-signature"}
)  # fmt: skip


def checked_url(value: str) -> str:
    """Return an address of HTTP; raise ValueError for another scheme, no host, no such port, or credentials in it."""
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # which repeats what stands where a port should, perhaps a password
        is_one = False
    if not is_one or _NO_URL.search(value):
        raise ValueError("must be an http:// or https:// URL with a host and, if any, a port up to 65535")
    if parts.username or parts.password:
        raise ValueError("must not hold credentials; use basic_auth or authorization")
    return value


def is_header(value: str) -> bool:
    """Say whether a header can hold a text."""
    return _NO_HEADER.search(value) is None


def _header(value: str | Secret) -> str | Secret:
    if not is_header(value.reveal() if isinstance(value, Secret) else value):
        raise ValueError("must hold no line break and no other control character")
    return value


HttpUrl = Annotated[str, pydantic.AfterValidator(checked_url)]
HeaderValue = Annotated[str, pydantic.AfterValidator(_header)]
HeaderSecret = Annotated[SecretValue, pydantic.AfterValidator(_header)]


def is_signing_secret(value: str) -> bool:
    """Say whether a text is a secret of the Standard Webhooks specification: whsec_ and 24 bytes or more in base64."""
    try:
        return value.startswith("whsec_") and len(base64.b64decode(value[6:], validate=True)) >= 24
    except ValueError:
        return False


class Strict(pydantic.BaseModel):
    """A section: frozen, without keys that it doesn't know, and silent about what was written where it is wrong."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class BasicAuth(Strict):
    """HTTP basic authentication."""

    username: str = ""
    username_file: str | None = None
    password: SecretValue | None = None
    password_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_told_once(self) -> "BasicAuth":
        _at_most_one(self, "username", "username_file")
        _at_most_one(self, "password", "password_file")
        if not self.username and self.username_file is None:
            raise ValueError("username or username_file is required")
        return self


class Authorization(Strict):
    """The Authorization header."""

    type: HeaderValue = "Bearer"
    credentials: HeaderSecret | None = None
    credentials_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_told_once(self) -> "Authorization":
        _at_most_one(self, "credentials", "credentials_file")
        return self


class TlsConfig(Strict):
    """TLS towards a target."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    min_version: Literal["TLS12", "TLS13"] | None = None
    max_version: Literal["TLS12", "TLS13"] | None = None
    insecure_skip_verify: bool = False

    @pydantic.model_validator(mode="after")
    def _fits(self) -> "TlsConfig":
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        if (self.min_version, self.max_version) == ("TLS13", "TLS12"):
            raise ValueError("min_version must not be above max_version")
        return self


class Header(Strict):
    """A further header's values: plain, secret, or from files; all of them are sent."""

    values: tuple[HeaderValue, ...] = ()
    secrets: tuple[HeaderSecret, ...] = ()
    files: tuple[str, ...] = ()


class HttpOptions(Strict):
    """How a target is spoken to."""

    name: Name | None = None
    timeout: Annotated[Seconds, pydantic.Field(gt=0, le=120)] = 10.0
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: TlsConfig | None = None
    http_headers: dict[HeaderName, Header] = {}
    follow_redirects: Literal[False] = False
    proxy_url: HttpUrl | None = None
    no_proxy: str = ""
    proxy_from_environment: bool = False
    proxy_connect_header: dict[HeaderName, tuple[HeaderSecret, ...]] = {}

    @pydantic.model_validator(mode="after")
    def _is_plain(self) -> "HttpOptions":
        _at_most_one(self, "basic_auth", "authorization")
        if self.proxy_from_environment and (self.proxy_url is not None or self.no_proxy):
            raise ValueError("proxy_from_environment can't stand beside proxy_url or no_proxy")
        if self.proxy_connect_header and self.proxy_url is None and not self.proxy_from_environment:
            raise ValueError("proxy_connect_header needs proxy_url or proxy_from_environment")
        for name in self.http_headers:
            if name.lower() in _OUR_HEADERS:
                raise ValueError(f"http_headers can't set {name}")
        return self


class Target(HttpOptions):
    """An HTTP endpoint that we send to."""

    url: HttpUrl


class ForwardTarget(Target):
    """One of the application's own webhook receivers, with how many deliveries it is sent at once, in which order."""

    name: Name
    concurrency: Annotated[int, pydantic.Field(ge=1, le=256)] = 16
    order: Literal["person", "all", "none"] = "person"


class _Chosen(Strict):
    """Which alerts a destination hears of, and whether it hears of their end."""

    severities: tuple[Severity, ...] = ("critical", "warning", "info")
    send_resolved: bool = True


class WebhookTarget(_Chosen, Target):
    """A receiver of alerts; with a secret, signed by the Standard Webhooks specification."""

    secret: SecretValue | None = None
    secret_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_told_once(self) -> "WebhookTarget":
        _at_most_one(self, "secret", "secret_file")
        return self


class PagerDuty(_Chosen, Target):
    """A PagerDuty service, by its Events API v2."""

    url: HttpUrl = PAGERDUTY_URL
    routing_key: SecretValue | None = None
    routing_key_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_told_once(self) -> "PagerDuty":
        _just_one(self, "routing_key", "routing_key_file")
        return self


class Slack(_Chosen, HttpOptions):
    """A Slack channel, by its incoming webhook, whose URL is a secret."""

    api_url: SecretValue | None = None
    api_url_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_told_once(self) -> "Slack":
        _just_one(self, "api_url", "api_url_file")
        return self


class Notifier(_Chosen, Strict):
    """Any service that apprise knows: e-mail, chat, SMS; its URL holds credentials and is a secret."""

    name: Name | None = None
    url: SecretValue | None = None
    url_file: str | None = None
    timeout: Annotated[Seconds, pydantic.Field(gt=0, le=120)] = 30.0

    @pydantic.model_validator(mode="after")
    def _is_told_once(self) -> "Notifier":
        _just_one(self, "url", "url_file")
        return self


class Alerts(Strict):
    """Whom to tell."""

    external_url: HttpUrl = "http://127.0.0.1:9368"
    dashboard_url: HttpUrl | None = None
    trace_url: HttpUrl | None = None
    alertmanagers: tuple[Target, ...] = ()
    webhooks: tuple[WebhookTarget, ...] = ()
    pagerduty: tuple[PagerDuty, ...] = ()
    slack: tuple[Slack, ...] = ()
    apprise: tuple[Notifier, ...] = ()


class Outbound(Strict):
    """Where nothing is ever sent: networks that a name in this file may not lead into, however it is spelt."""

    deny_networks: tuple[str, ...] = networks.METADATA

    @pydantic.field_validator("deny_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        networks.parse(value)
        return value


def _at_most_one(section: Any, *names: str) -> None:
    if sum(bool(getattr(section, name)) for name in names) > 1:
        raise ValueError(f"at most one of {' and '.join(names)}")


def _just_one(section: Any, *names: str) -> None:
    _at_most_one(section, *names)
    if not any(getattr(section, name) for name in names):
        raise ValueError(f"one of {' and '.join(names)} is required")
