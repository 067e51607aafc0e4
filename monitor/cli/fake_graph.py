"""A stand-in for Graph for the demonstration: takes messages on loopback, none while the account is blocked."""

import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from monitor.listeners import is_loopback, split
from monitor.tokens import FIELD

BLOCKED = 368
CALLS_A_PERCENT, PERCENT_MOST = 20, 60  # of the quota that it says is used up; the gate slows down from 80 % on


class FakeGraph:
    """Listens until closed; `is_blocked` says whether it answers as Graph does to an account that may not send."""

    def __init__(self, address: str) -> None:
        host, port = split(address)
        if not is_loopback(host):
            raise ValueError(f"{address} is not on loopback: a stand-in for Graph is nobody else's business")
        self.is_blocked = False
        self.taken = 0
        self.refused = 0
        self._callback_data: dict[str, str] = {}
        self._serial = itertools.count(int(time.time() * 1000))
        self._server = _Server((host, port), _Handler)
        self._server.graph = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and answer to a message."""
        if self.is_blocked:
            self.refused += 1
            told = "(#368) Temporarily blocked for policies violations"
            return 403, {"error": {"message": told, "type": "OAuthException", "code": BLOCKED, "fbtrace_id": "demo"}}
        self.taken += 1
        wamid, person = f"wamid.SIMULATED{next(self._serial):020d}", str(body.get("to", ""))
        self._callback_data[wamid] = str(body.get(FIELD, ""))
        contacts = [{"input": person, "wa_id": person}]
        return 200, {"messaging_product": "whatsapp", "contacts": contacts, "messages": [{"id": wamid}]}

    def usage(self) -> str:
        """Return what it says of the app's quota."""
        percent = min(PERCENT_MOST, (self.taken + self.refused) // CALLS_A_PERCENT)
        return json.dumps({"call_count": percent, "total_time": percent // 2, "total_cputime": percent // 3})

    def callback_data(self, wamid: str) -> str:
        """Return what the statuses of a message are to echo, once: it is forgotten then."""
        return self._callback_data.pop(wamid, "")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    graph: FakeGraph


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer any other call with what it names."""
        self._answer(200, {"id": self.path.strip("/")})

    def do_POST(self) -> None:
        """Answer a message."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if isinstance(said, dict):
            self._answer(*self.server.graph.answer(said))
        else:
            self._answer(400, {"error": {"message": "(#100) Invalid parameter", "type": "OAuthException", "code": 100}})

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def _answer(self, status: int, told: dict[str, Any]) -> None:
        text = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-App-Usage", self.server.graph.usage())
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
