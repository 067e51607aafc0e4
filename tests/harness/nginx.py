"""A real nginx with one of the shipped configurations, its addresses replaced."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.harness import exchange, patience, peer, ports

_MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/gate.conf;
}}
"""


@contextmanager
def running(shipped: Path, folder: Path, replaced: Mapping[str, str]) -> Iterator[int]:
    """Run nginx with a shipped file of the http context; yield the port that it listens on."""
    port = ports.free()
    text = shipped.read_text(encoding="utf-8")
    for before, after in {"127.0.0.1:8080": f"127.0.0.1:{port}", **replaced}.items():
        assert before in text, before
        text = text.replace(before, after)
    (folder / "gate.conf").write_text(text, encoding="utf-8")
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(folder=folder), encoding="utf-8")
    program = peer.path("nginx")
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(main)], stderr=subprocess.PIPE)
    try:
        patience.until(lambda: _listens(port), seconds=10)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _listens(port: int) -> bool:
    try:
        exchange.ask(port, "GET", "/")
    except OSError:
        return False
    return True
