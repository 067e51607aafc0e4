"""Speaking to a sidecar: what commands and followers say where it refuses, and where it is none."""

import asyncio
import http.server
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from monitor.cli import main
from monitor.client import AsyncGate, Gate

CORE = Path(__file__).parents[1] / "rules" / "monitor" / "core.yml"
SECRETS = "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [t]}\n"


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Answer every request alike; yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (as http.server wants it)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words], env={"WHATSAPP_MONITOR_TOKEN": ""})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"[]"), (200, b"null"), (200, b"\xff"), (200, b""), (500, b'"broken"'), (500, b"\xff"), (302, b"")],
)
@pytest.mark.parametrize("command", ["pauses list", "reload"])
def test_whoever_is_no_sidecar_is_told_so(command: str, status: int, body: bytes) -> None:
    with answering(status, body) as url:
        code, said = run(*command.split(), "--url", url)

    assert code == 1
    assert f"does not answer as a sidecar: status {status}" in said


def test_only_a_sidecar_has_reloaded() -> None:
    with answering(200, b'{"status": "success"}') as url:
        code, said = run("reload", "--url", url)

    assert code == 1
    assert "does not answer as a sidecar" in said


@pytest.mark.parametrize("command", ["pauses list", "reload"])
@pytest.mark.parametrize(
    ("status", "error", "words", "told"),
    [
        (401, b"unauthorized", [], "unauthorized: a token is needed: give one with --token or WHATSAPP_MONITOR_TOKEN"),
        (401, b"unauthorized", ["--token", "old"], "unauthorized: the token is not known: give one with --token or"),
        (403, b"forbidden", ["--token", "old"], "forbidden: another role is needed: give its token with --token or"),
    ],
)
def test_a_wrong_token_is_told_with_what_mends_it(
    command: str, status: int, error: bytes, words: list[str], told: str
) -> None:
    with answering(status, b'{"error":"%s"}' % error) as url:
        code, said = run(*command.split(), "--url", url, *words)

    assert code == 1
    assert said.startswith(f"whatsapp-monitor: {told}")


def test_a_reload_that_failed_tells_each_mistake() -> None:
    with answering(500, b'{"error":"reload_failed","mistakes":["monitor.yml:1:1: one","monitor.yml:2:1: two"]}') as url:
        code, said = run("reload", "--url", url)

    assert code == 1
    assert said == "whatsapp-monitor: monitor.yml:1:1: one\nwhatsapp-monitor: monitor.yml:2:1: two\n"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "monitor.yml"
    file.write_text(f"{SECRETS}rules: {{files: [{CORE}]}}\n")
    return file


def test_a_drill_names_who_does_not_answer(config_file: Path) -> None:
    code, said = run("drill", "368", "--config.file", config_file, "--url", "http://127.0.0.1:9")

    assert code == 1
    assert said.startswith("whatsapp-monitor: http://127.0.0.1:9 does not answer as a sidecar: ")


def test_a_drill_with_a_wrong_token_says_what_mends_it(config_file: Path) -> None:
    with answering(401, b'{"error":"unauthorized"}') as url:
        code, said = run("drill", "368", "--config.file", config_file, "--url", url)

    assert code == 1
    assert "give one with --token or WHATSAPP_MONITOR_TOKEN" in said


@pytest.mark.parametrize("option", ["--web.listen-address", "--webhook.listen-address"])
def test_a_port_in_use_is_told_with_its_option(config_file: Path, option: str) -> None:
    addresses = {"--web.listen-address": "127.0.0.1:0", "--webhook.listen-address": "127.0.0.1:0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses[option] = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["--config.file", str(config_file), *(word for pair in addresses.items() for word in pair)]
        program = [sys.executable, "-m", "monitor", "serve", *words]  # it sets up logging for the whole process
        done = subprocess.run(program, capture_output=True, text=True, timeout=30)

    assert done.returncode == 2
    assert done.stderr == f"whatsapp-monitor: {option} {addresses[option]}: Address already in use\n"


@pytest.mark.parametrize("on_error", ["open", {"marketing": "yes"}, {"utility": "deny"}])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_a_follower_takes_no_other_words(kind: Any, on_error: Any) -> None:
    with pytest.raises(ValueError, match="on_error is deny, allow, or one of them for each of all, business_initiated"):
        kind(on_error=on_error)


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "monitor.client"]


def test_a_follower_that_is_refused_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), answering(401, b'{"error":"unauthorized"}') as url:
        gate = Gate(url, name="app-1", token="old")
        gate.start(wait_seconds=0.6)
        gate.close()

    assert refused(caplog) == [f"{url} refuses the follower app-1 with 401: it needs the token of a viewer"]


async def test_a_follower_in_an_event_loop_that_is_refused_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), answering(403, b'{"error":"forbidden"}') as url:
        async with asyncio.timeout(10):
            gate = await AsyncGate(url, name="app-1").start(wait_seconds=0.6)
            await gate.close()

    assert len(refused(caplog)) == 1
