"""What the egress proxy costs beside nginx as a reverse proxy, before the same stand-in for Graph; prints a table.

`python -m tests.bench.proxy` takes half a minute and needs nginx and wrk. The stand-in is nginx too: it answers each
send with a wamid of its own.
"""

import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.bench import load
from tests.bench.load import Load
from tests.harness import ports

ROOT = Path(__file__).parents[2]
PATH = "/v23.0/200000000000001/messages"
SECONDS = 5
_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 10000000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream graph {{ server 127.0.0.1:{graph}; keepalive 128; keepalive_requests 10000000; }}
    server {{
        listen 127.0.0.1:{graph};
        location / {{
            default_type application/json;
            return 200 '{{"messaging_product":"whatsapp","messages":[{{"id":"wamid.$request_id"}}]}}';
        }}
    }}
    server {{
        listen 127.0.0.1:{nginx};
        location / {{ proxy_pass http://graph; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
_MONITOR = """
webhook: {{app_secrets: [0123456789abcdef], verify_tokens: [token]}}
store: {{url: sqlite:///monitor.db}}
rules: {{files: ['{rules}']}}
graph: {{url: 'http://127.0.0.1:{graph}'}}
"""


def measure() -> list[tuple[int, Load, Load]]:
    """Return for many connections and for one what nginx and the proxy carry, measured in turn."""
    graph, nginx, web, webhook = (ports.free() for _ in range(4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, graph=graph, nginx=nginx))
        rules = ROOT / "rules" / "monitor" / "core.yml"
        (folder / "monitor.yml").write_text(_MONITOR.format(rules=rules, graph=graph))
        command = [sys.executable, "-m", "monitor", "serve", "--config.file", str(folder / "monitor.yml")]
        command += ["--web.listen-address", f"127.0.0.1:{web}", "--webhook.listen-address", f"127.0.0.1:{webhook}"]
        gateway = subprocess.Popen(["nginx", "-p", name, "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
        sidecar = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            _wait(f"http://127.0.0.1:{web}/-/ready")
            return [
                (one, load.send(f"http://127.0.0.1:{nginx}{PATH}", SECONDS, one),
                 load.send(f"http://127.0.0.1:{web}/graph{PATH}", SECONDS, one))
                for one in (32, 1)
            ]  # fmt: skip
        finally:
            for process in (sidecar, gateway):
                process.terminate()
                process.wait()


def main() -> None:
    """Measure, and print the table."""
    print("| connections | nginx | the proxy | ratio | added p50 | p99 |")
    print("|---|---|---|---|---|---|")
    for connections, bare, own in measure():
        rates = f"{bare.rate:,.0f}/s | {own.rate:,.0f}/s | {own.rate / bare.rate:.2f} ×"
        print(f"| {connections} | {rates} | {own.p50 - bare.p50:.2f} ms | {own.p99:.1f} ms |")


def _wait(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("the sidecar did not start")


if __name__ == "__main__":
    main()
