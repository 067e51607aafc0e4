"""A stand-in for Graph: takes messages and answers other calls, and keeps every request as it came."""

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.harness import ports
from tests.harness.listener import Request


class Graph:
    """Listens on `port`.

    `refusal` is what it answers to sends instead of taking them: a status and an error code. `delay_seconds` is how
    long each answer takes, `is_cutting` whether it ends in the middle; `coding` is said to be its content coding,
    `usage` the quota that is used up. With `drip_seconds` each byte takes so long; `contact` is named in the answer.
    `known` are answers to other calls, by path.
    """

    def __init__(self) -> None:
        self.port = ports.free()
        self.requests: list[tuple[str, Request]] = []
        self.refusal: tuple[int, int] | None = None
        self.delay_seconds = 0.0
        self.is_cutting = False
        self.coding = ""
        self.usage = '{"call_count":1}'
        self.drip_seconds = 0.0
        self.known: dict[str, tuple[int, Any]] = {}
        self.contact = ""
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Where to send."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        super().__init__(("127.0.0.1", graph.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._take("GET")

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self._take("POST")

    def _take(self, method: str) -> None:
        chunked = self.headers.get("Transfer-Encoding", "") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        graph = self.server.graph
        graph.requests.append((method, Request(self.path, headers, body, time.time())))
        status = 200
        answer: dict[str, Any] = {"id": self.path}
        if self.path.endswith("/messages"):
            answer = {"messages": [{"id": f"wamid.{len(graph.requests)}"}]}
            if graph.contact:
                answer["contacts"] = [{"input": graph.contact, "wa_id": graph.contact}]
            if graph.refusal is not None:
                status, code = graph.refusal
                answer = {"error": {"code": code, "message": f"(#{code})", "type": "OAuthException"}}
        path = self.path.partition("?")[0]
        if path in graph.known:
            status, answer = graph.known[path]
        self._answer(status, answer)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        graph = self.server.graph
        text = json.dumps(answer).encode()
        if graph.coding:
            text = gzip.compress(text)
        time.sleep(graph.delay_seconds)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-App-Usage", graph.usage)
        if graph.coding:
            self.send_header("Content-Encoding", graph.coding)
        self.send_header("Content-Length", str(len(text) + graph.is_cutting))
        self.end_headers()
        for number in range(len(text) if graph.drip_seconds else 0):
            self.wfile.write(text[number : number + 1])
            self.wfile.flush()
            time.sleep(graph.drip_seconds)
        if not graph.drip_seconds:
            self.wfile.write(text)
        self.close_connection = self.close_connection or graph.is_cutting

    def log_message(self, *_: Any) -> None:
        """Stay silent."""
