"""Listeners with TLS: who has no certificate stays outside, and certificates change while everything runs."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import httpx2
import pytest
import trustme

from monitor.signature import sign
from tests.harness import meta, patience
from tests.harness.sidecar import APP_SECRET, Sidecar

pytestmark = pytest.mark.slow

CLIENT, STRANGER = "app.example.org", "somebody.example.org"
HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def write(directory: Path, authority: trustme.CA, name: str, more: str = "") -> Path:
    """Write a certificate for this machine and the file that names it."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(directory / f"{name}.key")
    chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
    (directory / f"{name}.pem").write_bytes(chain)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    file = directory / f"{name}.yml"
    file.write_text(f"tls_server_config:\n  cert_file: {name}.pem\n  key_file: {name}.key\n{more}", encoding="utf-8")
    return file


def trusting(authority: trustme.CA, name: str = "") -> ssl.SSLContext:
    """Return what trusts an authority, and shows a certificate of it for a name."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if name:
        authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Sidecar]]:
    made: list[Sidecar] = []

    def start(*options: str) -> Sidecar:
        sidecar = Sidecar(tmp_path)
        sidecar.launch(*options)
        made.append(sidecar)
        patience.until(lambda: "serving" in sidecar.log)
        return sidecar

    yield start
    for sidecar in made:
        if sidecar.is_running:
            sidecar.end()


def get(sidecar: Sidecar, path: str, context: ssl.SSLContext, **headers: str) -> httpx2.Response:
    with httpx2.Client(verify=context, trust_env=False, timeout=5) as client:
        return client.get(f"https://127.0.0.1:{sidecar.web_port}{path}", headers=headers)


def serial(port: int, context: ssl.SSLContext) -> str:
    """Return the serial number of the certificate that a port shows."""
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        shown = wrapped.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def test_the_internal_listener_speaks_tls_to_users_with_the_headers_that_are_asked_for(
    tmp_path: Path, authority: trustme.CA, started: Callable[..., Sidecar]
) -> None:
    users = f"basic_auth_users:\n  ann: '{HASH}'\n"
    headers = "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=60\n"
    sidecar = started("--web.config.file", str(write(tmp_path, authority, "web", users + headers)))
    context = trusting(authority)

    open_to_all = get(sidecar, "/-/ready", context)
    unknown = get(sidecar, "/v1/pauses", context)
    known = httpx2.get(
        f"https://127.0.0.1:{sidecar.web_port}/v1/pauses", auth=("ann", "right"), verify=context, trust_env=False
    )
    with pytest.raises(OSError, match=r"reset|refused|closed|Broken"):
        sidecar.get("/-/ready")

    assert (open_to_all.status_code, unknown.status_code, known.status_code) == (200, 401, 200)
    assert open_to_all.headers["strict-transport-security"] == "max-age=60"
    assert unknown.headers.get_list("www-authenticate")[1].startswith("Basic realm=")
    listed = sidecar.command("pauses", "list", "--url", f"https://127.0.0.1:{sidecar.web_port}")
    assert listed.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in listed.stderr


def test_a_command_trusts_the_authority_that_it_is_told_of(
    tmp_path: Path, authority: trustme.CA, started: Callable[..., Sidecar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_MONITOR_CA_FILE", str(tmp_path / "ca.pem"))
    sidecar = started("--web.config.file", str(write(tmp_path, authority, "web")))
    url = f"https://127.0.0.1:{sidecar.web_port}"

    placed = sidecar.command("pauses", "add", "--scope", "all", "--reason", "drill", "--url", url)
    listed = sidecar.command("pauses", "list", "--url", url)

    assert (placed.returncode, placed.stderr) == (0, "")
    assert "drill" in listed.stdout


def test_only_certificates_with_a_name_on_the_list_are_let_in(
    tmp_path: Path, authority: trustme.CA, started: Callable[..., Sidecar]
) -> None:
    clients = (
        f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [{CLIENT}]\n"
    )
    sidecar = started("--web.config.file", str(write(tmp_path, authority, "web", clients)))

    assert get(sidecar, "/v1/pauses", trusting(authority, CLIENT)).status_code == 200
    nobodys = trusting(authority)
    trustme.CA().issue_cert(CLIENT).configure_cert(nobodys)
    for context in (trusting(authority), trusting(authority, STRANGER), nobodys):
        with pytest.raises(httpx2.TransportError):
            get(sidecar, "/v1/pauses", context)
    page = get(sidecar, "/metrics", trusting(authority, CLIENT)).text
    assert 'whatsapp_monitor_connections_refused_total{listener="internal",reason="certificate"} 1.0' in page


@pytest.mark.parametrize("listener", ["web", "webhook"])
def test_a_certificate_that_is_written_anew_is_served_without_a_restart_and_a_broken_one_is_not(
    tmp_path: Path, authority: trustme.CA, started: Callable[..., Sidecar], listener: str
) -> None:
    sidecar = started(f"--{listener}.config.file", str(write(tmp_path, authority, listener)))
    port = sidecar.web_port if listener == "web" else sidecar.webhook_port
    context = trusting(authority)
    first = serial(port, context)
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        kept = context.wrap_socket(plain, server_hostname="127.0.0.1")

        (tmp_path / f"{listener}.pem").write_text("half of a certificate", encoding="utf-8")
        patience.until(lambda: "certificates_kept" in sidecar.log)
        assert serial(port, context) == first

        write(tmp_path, authority, listener)
        patience.until(lambda: serial(port, context) != first)
        kept.sendall(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(20).startswith(b"HTTP/1.1 ")
        kept.close()
    assert sidecar.terminate() == 0


def test_meta_delivers_over_tls(tmp_path: Path, authority: trustme.CA, started: Callable[..., Sidecar]) -> None:
    sidecar = started("--webhook.config.file", str(write(tmp_path, authority, "webhook")))
    body = meta.delivery("wamid.tls")
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(body, APP_SECRET.encode())}

    answer = httpx2.post(
        f"https://127.0.0.1:{sidecar.webhook_port}/webhook", content=body, headers=headers,
        verify=trusting(authority), trust_env=False,
    )  # fmt: skip

    assert answer.status_code == 200
    sidecar.settle()
    assert sidecar.metric("whatsapp_statuses_total", status="sent") == 1


def test_who_does_not_finish_the_handshake_is_let_go(
    tmp_path: Path, authority: trustme.CA, started: Callable[..., Sidecar]
) -> None:
    sidecar = started("--web.config.file", str(write(tmp_path, authority, "web")))
    with socket.create_connection(("127.0.0.1", sidecar.web_port), 5) as plain:
        plain.settimeout(30)
        begun = time.monotonic()
        plain.sendall(b"\x16\x03\x01")
        assert plain.recv(1) == b""
        assert time.monotonic() - begun < 15


def test_beyond_loopback_a_listener_needs_users_tokens_or_certificates(tmp_path: Path, authority: trustme.CA) -> None:
    open_to_all, users = write(tmp_path, authority, "open"), write(tmp_path, authority, "web")
    with users.open("a", encoding="utf-8") as file:
        file.write(f"basic_auth_users:\n  ann: '{HASH}'\n")
    refused, taken = Sidecar(tmp_path), Sidecar(tmp_path)
    outside = "--web.listen-address", f"0.0.0.0:{refused.web_port}"
    refused.launch("--web.config.file", str(open_to_all), *outside)
    code = refused.wait()

    assert code == 2
    assert "can be reached from other machines" in refused.log
    taken.launch("--web.config.file", str(users), "--web.listen-address", f"0.0.0.0:{taken.web_port}")
    try:
        patience.until(lambda: "serving" in taken.log)
    finally:
        taken.end()
