"""How a listener is entered: TLS, users and headers, in the format of Prometheus' web configuration file."""

import re
from pathlib import Path
from typing import Annotated, Literal

import bcrypt
import pydantic

from monitor import document, roles, validation
from monitor.document import Mistake, Mistaken, Reader
from monitor.secrets import Secret
from monitor.targets import SecretValue, Strict

COST_MOST = 15  # 2 ** 15 rounds take seconds
_HASH = re.compile(r"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_NAME = re.compile(roles.NAME)
_SUITE = re.compile(r"TLS_(ECDHE)_(ECDSA|RSA)_WITH_(AES_128_GCM|AES_256_GCM|CHACHA20_POLY1305)_SHA(?:256|384)")
_HeaderValue = Annotated[str, pydantic.StringConstraints(pattern=r"^[\x20-\x7e]{1,1024}$")]


def _hash(value: Secret) -> Secret:
    found = _HASH.fullmatch(value.reveal())
    if found is None:
        raise ValueError("must be a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it")
    if not 4 <= int(found[1]) <= COST_MOST:
        raise ValueError(f"its cost must be between 4 and {COST_MOST}")
    try:
        bcrypt.checkpw(b"", f"$2b$04${value.reveal()[7:]}".encode())  # what is wrong is so at the least cost, too
    except ValueError:
        raise ValueError("must be a bcrypt hash as it was printed: its salt can't be read") from None
    return value


def _suite(value: str) -> str:
    if _SUITE.fullmatch(value) is None:
        raise ValueError(
            "must be an ECDHE suite of TLS 1.2 with AES GCM or ChaCha20, as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        )
    return value


class TlsServer(Strict):
    """How the listener proves who it is, and clients to it."""

    cert_file: str
    key_file: str
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: str | None = None
    client_allowed_sans: tuple[str, ...] = ()
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    cipher_suites: tuple[Annotated[str, pydantic.AfterValidator(_suite)], ...] = ()
    prefer_server_cipher_suites: bool = True

    @pydantic.model_validator(mode="after")
    def _fits(self) -> "TlsServer":
        if (self.client_ca_file is None) != (self.client_auth_type == "NoClientCert"):
            raise ValueError("client_ca_file and a client_auth_type that verifies belong together")
        if self.client_allowed_sans and self.client_auth_type != "RequireAndVerifyClientCert":
            raise ValueError("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert")
        if (self.min_version, self.max_version) == ("TLS13", "TLS12"):
            raise ValueError("min_version must not be above max_version")
        return self

    def openssl_ciphers(self) -> str:
        """Return the suites in OpenSSL's names, "" for its own choice."""
        found = [_SUITE.fullmatch(one) for one in self.cipher_suites]
        named = [one[0].removeprefix("TLS_").replace("_WITH_", "_") for one in found if one is not None]
        return ":".join(
            one.replace("AES_", "AES").replace("POLY1305_SHA256", "POLY1305").replace("_", "-") for one in named
        )


class Headers(Strict):
    """Headers of every answer that has none of the name."""

    content_security_policy: _HeaderValue | None = pydantic.Field(None, alias="Content-Security-Policy")
    x_frame_options: _HeaderValue | None = pydantic.Field(None, alias="X-Frame-Options")
    x_content_type_options: _HeaderValue | None = pydantic.Field(None, alias="X-Content-Type-Options")
    x_xss_protection: _HeaderValue | None = pydantic.Field(None, alias="X-XSS-Protection")
    strict_transport_security: _HeaderValue | None = pydantic.Field(None, alias="Strict-Transport-Security")


class HttpServer(Strict):
    """How the listener speaks; `http2` is read and has no effect, since HTTP/2 is not spoken here."""

    http2: bool = False
    headers: Headers = Headers()


class WebFile(Strict):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[str, Annotated[SecretValue, pydantic.AfterValidator(_hash)]] = pydantic.Field(
        default_factory=dict
    )

    @pydantic.field_validator("basic_auth_users")
    @classmethod
    def _names_can_stand_in_the_audit(cls, value: dict[str, Secret]) -> dict[str, Secret]:
        for name in value:
            if _NAME.fullmatch(name) is None:
                raise ValueError("names are of letters, digits and @._-, 64 at the most")
        return value

    @property
    def is_closed(self) -> bool:
        """Whether nobody enters without a certificate or a password."""
        tls = self.tls_server_config
        return bool(self.basic_auth_users) or (tls is not None and tls.client_auth_type == "RequireAndVerifyClientCert")

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of every answer, names in lower case."""
        found = self.http_server_config.headers.model_dump(by_alias=True, exclude_none=True)
        return [(name.lower().encode(), value.encode()) for name, value in found.items()]


def read(path: Path, reader: Reader = document.read) -> WebFile:
    """Read a web configuration file; raise Mistaken with what is wrong."""
    try:
        text = document.content(path)
    except OSError as error:
        raise Mistaken([Mistake(str(path), 0, 0, "", f"can't be read: {error.strerror}")]) from None
    found = reader(text, str(path))
    value = found.value if found.value is not None else {}
    made: WebFile = validation.validated(WebFile, document.Document(found.file, value, found.places))
    return made
