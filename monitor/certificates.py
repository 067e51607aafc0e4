"""Certificates of a listener: made into what serves TLS, and seen changing on the disk."""

import ssl
from pathlib import Path
from typing import Any

from monitor import files
from monitor.web_file import TlsServer

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFYING = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def context(tls: TlsServer, directory: Path) -> ssl.SSLContext:
    """Return what serves TLS; raise ValueError where a file can't be used."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if tls.prefer_server_cipher_suites:
        made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        for file in _named(tls, directory):
            files.content(file, files.CERTIFICATES_MOST)  # OpenSSL waits for a pipe
        made.load_cert_chain(directory / tls.cert_file, directory / tls.key_file, password=_nobody_to_ask)
        if tls.client_ca_file is not None:
            made.load_verify_locations(directory / tls.client_ca_file)
        if tls.cipher_suites:
            made.set_ciphers(tls.openssl_ciphers())
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ValueError(f"can't be used: {error}") from None
    made.verify_mode = _VERIFYING[tls.client_auth_type]
    made.set_alpn_protocols(["http/1.1"])
    return made


def stamp(tls: TlsServer | None, directory: Path) -> tuple[tuple[int, int, int], ...]:
    """Return what changes when a file of it is written anew or put in another's place; a missing one is (0, 0, 0)."""
    return () if tls is None else tuple(map(_stamp, _named(tls, directory)))


def names(certificate: dict[str, Any] | None) -> frozenset[str]:
    """Return the subject alternative names of a certificate as `ssl` gives it."""
    return frozenset(str(value) for _, value in (certificate or {}).get("subjectAltName", ()))


def _named(tls: TlsServer, directory: Path) -> list[Path]:
    return [directory / file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file is not None]


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _nobody_to_ask() -> str:
    raise ValueError("the key is encrypted")
