"""Real gateways before a stand-in for Graph: what may go goes untouched, what is paused is refused with its reason."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.harness import exchange, meta, nginx, patience
from tests.harness.exchange import Answer
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER, Meta
from tests.harness.sidecar import Sidecar

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[2] / "deploy"
PATH = f"/v23.0/{NUMBER}/messages"
BODY = b'{"messaging_product":"whatsapp","to":"15550000001","type":"text","text":{"body":"h\xc3\xa9llo"}}'
TOKEN = "EAAG-secret"


@pytest.fixture
def graph() -> Iterator[Graph]:
    with Graph() as made:
        yield made


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path) as made:
        made.start()
        yield made


@pytest.fixture
def sender(sidecar: Sidecar) -> Iterator[Meta]:
    with meta.of(sidecar) as made:
        yield made


@pytest.fixture(params=["gate.conf", "gate-open.conf"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path, sidecar: Sidecar, graph: Graph) -> Iterator[int]:
    replaced = {
        "127.0.0.1:9368": f"127.0.0.1:{sidecar.web_port}",
        "https://graph.facebook.com": graph.url,
        "proxy_ssl_server_name on;": "",
    }
    folder = tmp_path / "nginx"
    folder.mkdir()
    with nginx.running(DEPLOY / "nginx" / request.param, folder, replaced) as port:
        yield port


def send(port: int, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return exchange.ask(port, "POST", PATH, BODY, {"Authorization": f"Bearer {TOKEN}", **named})


def test_what_may_go_reaches_graph_untouched_and_a_pause_stops_it_within_a_second(
    gateway: int, sidecar: Sidecar, sender: Meta, graph: Graph
) -> None:
    sent = send(gateway)
    method, request = graph.requests[-1]
    read = exchange.ask(gateway, "GET", f"/v23.0/{NUMBER}?fields=quality_rating", None, {"Authorization": "Bearer x"})
    graph.refusal = (403, 131031)
    refused_by_graph = send(gateway)
    graph.refusal = None

    assert (sent.status, list(sent.json())) == (200, ["messages"])
    assert (method, request.path, request.body, request.headers["authorization"]) == (
        "POST", PATH, BODY, f"Bearer {TOKEN}",
    )  # fmt: skip
    assert read.json() == {"id": f"/v23.0/{NUMBER}?fields=quality_rating"}
    assert (refused_by_graph.status, refused_by_graph.json()["error"]["code"]) == (403, 131031)

    assert sender.error(368).status == 200
    paused_at = time.monotonic()
    patience.until(lambda: send(gateway).status == 403, seconds=5)
    taken_seconds = time.monotonic() - paused_at
    reached = len(graph.requests)
    refused = send(gateway)
    still_read = exchange.ask(gateway, "GET", f"/v23.0/{NUMBER}")

    assert taken_seconds < 1.0
    assert refused.headers["x-gate-reason"].startswith("paused_waba; rule=policy_block; code=368; pause=p")
    assert refused.headers["retry-after"] == "60"
    assert (refused.json()["error"]["code"], refused.json()["error"]["type"]) == (368, "WhatsAppMonitorRefusal")
    assert refused.status == 403
    assert len(graph.requests) == reached + 1, "a refused send reached Graph, or a question that sends nothing did not"
    assert still_read.status == 200

    (pause,) = sidecar.get("/v1/pauses").json()["pauses"]
    sidecar.post(f"/v1/pauses/{pause['id']}/resume", actor="ann", reason="lifted")
    assert send(gateway).status == 200
    assert TOKEN not in sidecar.log


def test_what_the_application_tells_is_refused_no_more_than_it_must(
    gateway: int, sidecar: Sidecar, graph: Graph
) -> None:
    held = {"actor": "ann", "reason": "quality", "scope": "phone_number", "scope_id": NUMBER, "lane": "marketing"}
    assert sidecar.post("/v1/pauses", **held).status == 201

    assert send(gateway).status == 403
    assert send(gateway, X_Gate_Category="marketing").status == 403
    assert send(gateway, X_Gate_Category="utility").status == 200
    assert send(gateway, X_Gate_Kind="free_form").status == 200


def test_without_the_gate_nothing_goes_or_all_as_the_file_says(
    request: pytest.FixtureRequest, gateway: int, sidecar: Sidecar, graph: Graph
) -> None:
    sidecar.kill()

    is_open = "gate-open" in request.node.name
    assert send(gateway).status == (200 if is_open else 500)
    assert [one.path for _, one in graph.requests if one.path == PATH] == [PATH] * is_open


ENVOY = DEPLOY / "envoy" / "envoy.yaml"
TRAEFIK = DEPLOY / "traefik" / "dynamic.yml"


def test_envoy_s_and_traefik_s_questions_are_understood(sidecar: Sidecar, sender: Meta) -> None:
    """As their documents have it: Envoy appends the path to its prefix with the request's own method, and no body;
    Traefik asks with GET and names the request in X-Forwarded-Method and X-Forwarded-Uri."""
    prefix = _envoy_filter()["http_service"]["path_prefix"]
    address = yaml.safe_load(TRAEFIK.read_text())["http"]["middlewares"]["gate"]["forwardAuth"]["address"]
    questions = {
        "envoy": ("POST", f"{prefix}{PATH}", {}),
        "envoy, another call": ("POST", f"{prefix}/v23.0/{NUMBER}/media", {"Content-Length": "0"}),
        "traefik": ("GET", urlsplit(address).path, {"X-Forwarded-Method": "POST", "X-Forwarded-Uri": PATH}),
        "traefik, another call": ("GET", urlsplit(address).path, {"X-Forwarded-Uri": f"/v23.0/{NUMBER}"}),
    }

    def asked() -> dict[str, Answer]:
        return {
            name: exchange.ask(sidecar.web_port, method, path, None, headers)
            for name, (method, path, headers) in questions.items()
        }

    before = asked()
    assert sender.error(368).status == 200
    sidecar.settle()
    after = asked()

    assert {name: answer.status for name, answer in before.items()} == dict.fromkeys(questions, 200)
    assert {name: answer.status for name, answer in after.items()} == {
        "envoy": 403, "envoy, another call": 200, "traefik": 403, "traefik, another call": 200,
    }  # fmt: skip
    for name in ("envoy", "traefik"):
        assert after[name].headers["x-gate-reason"].startswith("paused_waba")
        assert after[name].headers["retry-after"] == "60"


def test_envoy_and_traefik_keep_graph_s_token_from_the_gate() -> None:
    service = _envoy_filter()["http_service"]
    gate = yaml.safe_load(TRAEFIK.read_text())["http"]["middlewares"]["gate"]["forwardAuth"]

    assert [list(one) for one in service["authorization_request"]["allowed_headers"]["patterns"]] == [
        ["prefix", "ignore_case"]
    ]
    assert {one["exact"] for one in service["authorization_response"]["allowed_client_headers"]["patterns"]} >= {
        "x-gate-reason", "retry-after",
    }  # fmt: skip
    assert _envoy_filter()["failure_mode_allow"] is False
    assert all(name.startswith("X-Gate-") for name in gate["authRequestHeaders"])


def _envoy_filter() -> dict[str, Any]:
    listener = yaml.safe_load(ENVOY.read_text())["static_resources"]["listeners"][0]
    filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    return dict(filters[0]["typed_config"])
