"""Who we are to a target, and how it proves who it is: headers and TLS, of its section and the files named there."""

import base64
import ssl
from pathlib import Path

from monitor import __version__, files
from monitor.targets import HttpOptions, TlsConfig, is_header

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}


def headers(options: HttpOptions, directory: Path) -> dict[str, str]:
    """Return who we are and whom we act for; raise ValueError where a file of it can't be used."""
    made = {"User-Agent": f"whatsapp-monitor/{__version__}", "Accept-Encoding": "identity"}
    for name, own in options.http_headers.items():
        told = [*own.values, *(one.reveal() for one in own.secrets)]
        made[name] = ", ".join([*told, *(header(directory / file) for file in own.files)])
    basic, bearer = options.basic_auth, options.authorization
    if basic is not None:
        username = basic.username or _text(directory, basic.username_file)
        password = basic.password.reveal() if basic.password else _text(directory, basic.password_file)
        made["Authorization"] = f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
    if bearer is not None:
        credentials = "" if bearer.credentials is None else bearer.credentials.reveal()
        if bearer.credentials_file is not None:
            credentials = header(directory / bearer.credentials_file)
        made["Authorization"] = f"{bearer.type} {credentials}"
    return made


def header(file: Path) -> str:
    """Return what a file says for a header; raise ValueError, which repeats nothing of it, where none can hold it."""
    told = files.text(file).strip()
    if not is_header(told):
        raise ValueError(f"{file} holds a line break or another character that can't stand in a header")
    return told


def tls(asked: TlsConfig | None, directory: Path) -> ssl.SSLContext | bool:
    """Return how a target proves who it is, and we to it; raise ValueError where a file of it can't be used."""
    if asked is None:
        return True
    authority, certificate, key = (
        None if file is None else directory / file for file in (asked.ca_file, asked.cert_file, asked.key_file)
    )
    for file in filter(None, (authority, certificate, key)):
        files.content(file, files.CERTIFICATES_MOST)  # OpenSSL waits for a pipe, and does not say which file it means
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError:  # of which OpenSSL's own are
        raise ValueError(f"{authority} holds no certificate in PEM") from None
    try:
        if certificate is not None:
            context.load_cert_chain(certificate, key, password=_nobody_to_ask)
    except (OSError, ValueError) as error:
        raise ValueError(f"{certificate} can't be used with {key or 'a key in itself'}: {error}") from None
    if asked.min_version is not None:
        context.minimum_version = _VERSIONS[asked.min_version]
    if asked.max_version is not None:
        context.maximum_version = _VERSIONS[asked.max_version]
    if asked.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _text(directory: Path, file: str | None) -> str:
    return "" if file is None else files.text(directory / file).strip()


def _nobody_to_ask() -> str:
    raise ValueError("the key is encrypted")
