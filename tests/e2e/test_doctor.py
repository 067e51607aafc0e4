"""The doctor before a stand-in for Graph: what is right, what is wrong, and what mends it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import payloads
from tests.harness import meta
from tests.harness.graph import Graph
from tests.harness.meta import NUMBER, WABA_ID
from tests.harness.sidecar import Sidecar

pytestmark = pytest.mark.slow

APP = "4711"


@pytest.fixture
def graph() -> Iterator[Graph]:
    with Graph() as made:
        yield made


@pytest.fixture
def sidecar(tmp_path: Path, graph: Graph) -> Iterator[Sidecar]:
    environment = {"META_APP_ID": APP, "META_ACCESS_TOKEN": "EAAG-token"}
    with Sidecar(tmp_path, environment=environment, graph={"url": graph.url}) as made:
        made.start()
        with meta.of(made) as sender:
            sender.statuses(payloads.status("wamid.1", "sent", 1.0))
        made.settle()
        yield made


@pytest.fixture
def healthy(graph: Graph, sidecar: Sidecar) -> Graph:
    own = {
        "object": "whatsapp_business_account", "callback_url": sidecar.webhook_url,
        "fields": [{"name": "messages"}, {"name": "account_update"}],
    }  # fmt: skip
    graph.known = {
        f"/v23.0/{APP}/subscriptions": (200, {"data": [own]}),
        f"/v23.0/{NUMBER}": (200, {"id": NUMBER, "health_status": {"can_send_message": "AVAILABLE", "entities": []}}),
        f"/v23.0/{WABA_ID}/subscribed_apps": (200, {"data": [{"whatsapp_business_api_data": {"id": APP}}]}),
    }
    return graph


def examined(sidecar: Sidecar, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = sidecar.command("doctor", "--config.file", str(sidecar.config_file), "--json", *options)
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)}


def test_where_all_is_right_it_says_so(sidecar: Sidecar, healthy: Graph) -> None:
    code, found = examined(sidecar)

    assert code == 0
    assert {one["state"] for one in found.values()} == {"ok"}
    assert set(found) == {
        "sidecar", "disk", "clock", "app secret", "webhook", f"number {NUMBER}", f"account {WABA_ID}",
    }  # fmt: skip
    said = sidecar.command("doctor", "--config.file", str(sidecar.config_file)).stdout
    assert "is this sidecar" in said
    for secret in ("EAAG-token", "app-secret-of-the-tests"):
        assert secret not in said


def test_each_fault_is_named_with_what_mends_it(sidecar: Sidecar, healthy: Graph) -> None:
    blocked = {
        "can_send_message": "BLOCKED",
        "entities": [
            {
                "errors": [
                    {"error_description": "restricted for 7 days", "possible_solution": "appeal in Business Support"}
                ]
            }
        ],
    }
    expired = {"error": {"message": "Session has expired", "type": "OAuthException", "code": 190}}
    elsewhere = {"object": "whatsapp_business_account", "callback_url": f"{healthy.url}/webhook", "fields": []}
    healthy.known[f"/v23.0/{NUMBER}"] = (200, {"health_status": blocked})
    healthy.known[f"/v23.0/{WABA_ID}/subscribed_apps"] = (401, expired)
    healthy.known[f"/v23.0/{APP}/subscriptions"] = (200, {"data": [elsewhere]})
    sidecar.configure(graph={"url": healthy.url}, alerts={"alertmanagers": [{"url": "http://127.0.0.1:9"}]})

    code, found = examined(sidecar)

    assert code == 1
    assert (found[f"number {NUMBER}"]["state"], found[f"number {NUMBER}"]["mend"]) == (
        "failed", "appeal in Business Support",
    )  # fmt: skip
    assert "(190) Session has expired" in found[f"account {WABA_ID}"]["told"]
    assert "explain code 190" in found[f"account {WABA_ID}"]["mend"]
    assert (found["webhook"]["state"], found["webhook fields"]["state"]) == ("failed", "warning")
    assert "does not know our verify token" in found["webhook"]["told"]
    assert found["alertmanager 0"]["state"] == "failed"


def test_a_wrong_secret_and_a_lost_subscription_are_told_apart(sidecar: Sidecar, healthy: Graph) -> None:
    healthy.known[f"/v23.0/{APP}/subscriptions"] = (400, {"error": {"code": 1, "message": "Invalid secret"}})
    _, wrong = examined(sidecar)
    healthy.known[f"/v23.0/{APP}/subscriptions"] = (200, {"data": []})
    healthy.known[f"/v23.0/{WABA_ID}/subscribed_apps"] = (200, {"data": []})
    _, lost = examined(sidecar)

    assert (wrong["app secret"]["state"], "webhook" in wrong) == ("failed", False)
    assert "webhook.app_secrets" in wrong["app secret"]["mend"]
    assert (lost["app secret"]["state"], lost["webhook"]["state"]) == ("ok", "failed")
    assert lost[f"account {WABA_ID}"]["mend"].startswith("curl -X POST")


def test_without_sidecar_and_graph_it_still_speaks(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, graph={"url": "http://127.0.0.1:9"})

    code, found = examined(sidecar)

    assert code == 1
    assert (found["sidecar"]["state"], found["Graph"]["state"]) == ("failed", "failed")
    assert found["app secret and webhook"]["state"] == "skipped"


def test_a_target_that_drips_is_waited_for_no_longer_than_it_would_be(tmp_path: Path, graph: Graph) -> None:
    graph.drip_seconds = 0.2
    token = {"credentials": "a-token"}
    forward = {"name": "app", "url": f"{graph.url}/v23.0/1/messages", "timeout": "1s", "authorization": token}
    sidecar = Sidecar(tmp_path, graph={"url": "http://127.0.0.1:9"}, forward=[forward])
    begun = time.monotonic()

    _, found = examined(sidecar)

    assert found["forward app"]["told"] == f"{forward['url']} does not answer: timeout"
    assert time.monotonic() - begun < 10
    assert [one.headers.get("authorization") for _, one in graph.requests] == ["Bearer a-token"]


def test_nothing_is_sent_into_a_denied_network(tmp_path: Path, graph: Graph) -> None:
    url = graph.url.replace("127.0.0.1", "localhost")
    environment = {"META_APP_ID": APP, "META_ACCESS_TOKEN": "EAAG-token"}
    deny = {"deny_networks": ["127.0.0.1/32", "::1/128"]}
    sidecar = Sidecar(
        tmp_path, environment=environment, graph={"url": url}, forward=[{"name": "app", "url": url}], outbound=deny
    )

    _, found = examined(sidecar, "--phone-number-id", NUMBER, "--waba-id", WABA_ID)

    assert {found[name]["told"] for name in ("Graph", "forward app")} == {f"{url} does not answer: forbidden_address"}
    assert found["app secret"]["state"] == "failed"
    assert graph.requests == []


def test_a_collector_is_asked_too(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, graph={"url": "http://127.0.0.1:9"}, tracing={"endpoint": "http://127.0.0.1:9"})

    _, found = examined(sidecar)

    assert found["OTLP"]["told"] == "http://127.0.0.1:9/v1/traces does not answer: unreachable"


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:x", "nothing", "http://127.0.0.1:9"])
def test_a_sidecar_s_address_that_is_none_is_told_in_a_sentence(tmp_path: Path, url: str) -> None:
    sidecar = Sidecar(tmp_path, graph={"url": "http://127.0.0.1:9"})

    code, found = examined(sidecar, "--url", url)

    assert code == 1
    assert found["sidecar"]["told"].startswith(f"{url} does not answer: ")


@pytest.mark.parametrize(("option", "text"), [("--token", "a\nb"), ("--token", "ä"), ("--access-token", "a\rb")])
def test_a_token_that_no_header_can_hold_is_told_and_not_repeated(tmp_path: Path, option: str, text: str) -> None:
    done = Sidecar(tmp_path).command("doctor", option, text)

    assert done.returncode == 2
    assert f"Invalid value for {option}: it holds what no header can hold" in done.stderr
    assert "Traceback" not in done.stderr
