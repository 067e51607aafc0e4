"""The process as operators and Meta meet it: exit codes, reload and shutdown (under load: test_leaving.py)."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import exchange, meta, patience
from tests.harness.exchange import Answer
from tests.harness.sidecar import VERIFY_TOKEN, Sidecar

BODY_MOST = 4 * 1024 * 1024
NEXT_SECRET = "the-next-app-secret-0123456789ab"
SLOW_HEADERS_SECONDS = 10.0
SLOW_BODY_SECONDS = 15.0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar that the test may end."""
    with Sidecar(tmp_path) as made:
        yield made


def post(sidecar: Sidecar, body: bytes, headers: dict[str, str], path: str = "/webhook") -> Answer:
    return exchange.ask(sidecar.webhook_port, "POST", path, body, headers)


def test_a_second_sidecar_on_the_same_database_exits_3(own: Sidecar, tmp_path: Path) -> None:
    own.start()
    with Sidecar(tmp_path) as second:
        second.launch()
        code = second.wait()

        assert code == 3
        assert "in use" in second.log
    assert own.get("/-/ready").status == 200


def test_a_broken_configuration_exits_2_and_tells_each_mistake_with_its_place(own: Sidecar) -> None:
    own.config_file.write_text(
        "webhook:\n"
        "  app_secrets: [12345]\n"
        "  verify_tokens: [a-verify-token]\n"
        "  colour: green\n"
        "store:\n"
        "  url: mysql://localhost\n"
        "forward:\n"
        "  - {name: app, url: 'ftp://localhost'}\n"
        "rules:\n"
        "  files: [broken.yml]\n"
    )
    (own.directory / "broken.yml").write_text(
        "rules:\n  - name: broken\n    match: {code: 368}\n    actions:\n      - pause: {scope: galaxy}\n"
    )

    own.launch()
    code = own.wait()

    file = own.config_file
    assert code == 2
    for place in ("2:17", "4:3", "6:3", "8:17"):
        assert f"{file}:{place}" in own.log
    assert "broken.yml:5:17" in own.log
    assert "12345" not in own.log
    assert "Traceback" not in own.log
    assert not own.database.exists()


@pytest.mark.slow
def test_a_configuration_that_is_missing_exits_2(own: Sidecar) -> None:
    own.config_file.unlink()

    own.launch()

    assert own.wait() == 2
    assert f"{own.config_file}: can't be read" in own.log


@pytest.mark.parametrize("how", [pytest.param("sighup", marks=pytest.mark.slow), "http"])
def test_a_broken_reload_keeps_the_old_rules_and_a_good_one_takes_the_new(own: Sidecar, how: str) -> None:
    rules = own.directory / "rules.yml"
    template = (
        "  - name: {name}\n    match: {{code: {code}}}\n    actions: [{{{action}: {{scope: waba, until: resumed}}}}]\n"
    )
    first = "rules:\n" + template.format(name="first", code=368, action="pause")
    rules.write_text(first)
    own.configure(rules={"files": ["rules.yml"]})
    own.start()

    def reload(succeeds: bool) -> None:
        if how == "sighup":
            own.signal(signal.SIGHUP)
        else:
            answer = own.reload()
            assert answer.status == (200 if succeeds else 500)
            assert succeeds or "rules.yml:7:" in answer.body.decode()
        name = "whatsapp_monitor_config_last_reload_successful"
        patience.until(lambda: own.metric(name) == succeeds)

    with meta.of(own) as sender:
        rules.write_text(first + template.format(name="second", code=80007, action="halt"))
        reload(succeeds=False)
        assert sender.error(80007).status == 200
        assert sender.error(368).status == 200
        pauses = patience.until(lambda: own.get("/v1/pauses").json()["pauses"])
        assert [pause["rule"] for pause in pauses] == ["first"]
        assert "rules.yml:7:" in own.log

        rules.write_text(first + template.format(name="second", code=80007, action="pause"))
        reload(succeeds=True)
        assert sender.error(80007, number="200000000000002").status == 200  # another body: equal ones are one delivery
        named = ["second", "first"]
        patience.until(lambda: [pause["rule"] for pause in own.get("/v1/pauses").json()["pauses"]] == named)


@pytest.mark.slow
def test_a_reload_that_stops_less_is_refused_until_that_is_acknowledged(own: Sidecar) -> None:
    rules = own.directory / "rules.yml"
    rule = (
        "rules:\n  - {{name: block, mode: {}, match: {{code: 368}}, "
        "actions: [{{pause: {{scope: waba, until: resumed}}}}]}}\n"
    )
    rules.write_text(rule.format("enforce"))
    own.configure(rules={"files": ["rules.yml"]})
    own.start()

    with meta.of(own) as sender:
        rules.write_text(rule.format("shadow"))
        refused = own.command("reload")
        assert sender.error(368).status == 200
        patience.until(lambda: own.get("/v1/pauses").json()["pauses"])
        taken = own.command("reload", "--acknowledge-loosening")
        assert sender.error(368, number="200000000000002").status == 200
        own.settle()

    assert refused.returncode == 1
    assert "rule block, which pauses sending, is only a shadow" in refused.stderr
    assert taken.stdout == "Reloaded.\n"
    assert len(own.get("/v1/pauses").json()["pauses"]) == 1
    shadowed = {"rule": "block", "action": "pause", "mode": "shadow"}
    patience.until(lambda: own.metric("whatsapp_monitor_rule_actions_total", **shadowed) == 1)


@pytest.mark.slow
def test_a_reload_takes_up_a_new_app_secret_and_drops_the_old_one(own: Sidecar) -> None:
    own.start()
    own.configure(webhook={"app_secrets": [NEXT_SECRET], "verify_tokens": [VERIFY_TOKEN]})

    assert own.reload().status == 200

    body = meta.delivery("wamid.rotated")
    assert post(own, body, meta.signed(body)).status == 401
    assert post(own, body, meta.signed(body, NEXT_SECRET)).status == 200


def test_sigterm_fails_the_readiness_first_and_exits_0(own: Sidecar) -> None:
    own.start()
    body = meta.delivery("wamid.last")
    assert post(own, body, meta.signed(body)).status == 200
    with socket.create_connection(("127.0.0.1", own.web_port), timeout=10) as probe:
        own.signal(signal.SIGTERM)
        seen: list[int] = []
        with contextlib.suppress(OSError):
            while len(seen) < 10_000:
                probe.sendall(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
                seen.append(exchange.hear(probe).status)
        code = own.wait()

    assert code == 0
    assert 503 in seen
    assert 200 not in seen[seen.index(503) :]
    assert [delivery.body for delivery in own.oracle().deliveries] == [body]
    assert own.log.count("stopped") == 1


@pytest.mark.slow
def test_a_delivery_that_is_under_way_at_sigterm_is_still_answered_and_journaled(own: Sidecar) -> None:
    own.start()
    body = meta.delivery("wamid.under-way")
    line = meta.line(body)
    with socket.create_connection(("127.0.0.1", own.webhook_port), timeout=10) as connection:
        connection.sendall(meta.head(line, length=len(body)) + body[:10])
        time.sleep(0.2)
        own.signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(body[10:])
        answer = exchange.hear(connection)

    assert answer.status == 200
    assert own.wait() == 0
    oracle = own.oracle()
    assert [delivery.body for delivery in oracle.deliveries] == [body]
    assert [wamid for wamid, _ in oracle.messages] == ["wamid.under-way"]


@pytest.mark.slow
def test_a_second_signal_gives_up_at_once(own: Sidecar) -> None:
    own.start()
    with socket.create_connection(("127.0.0.1", own.webhook_port), timeout=10) as connection:
        connection.sendall(meta.head("X-Hub-Signature-256: sha256=" + "0" * 64, length=1000))
        time.sleep(0.2)
        own.signal(signal.SIGINT)
        time.sleep(0.3)
        started_at = time.monotonic()
        own.signal(signal.SIGINT)
        code = own.wait()

    assert code != 0
    assert time.monotonic() - started_at < 1


@pytest.mark.slow
@pytest.mark.parametrize("address", ["0.0.0.0", ""], ids=["any", "empty"])
def test_an_internal_listener_beyond_loopback_without_a_token_is_refused_with_2(own: Sidecar, address: str) -> None:
    own.launch("--web.listen-address", f"{address}:{own.web_port}")

    assert own.wait() == 2
    assert "web.operator_tokens" in own.log


@pytest.mark.slow
def test_an_internal_listener_beyond_loopback_asks_for_its_token(own: Sidecar) -> None:
    own.configure(web={"operator_tokens": ["an-operator-token-of-the-tests"]})
    own.start("--web.listen-address", f"0.0.0.0:{own.web_port}")

    without = own.get("/v1/pauses")
    with_token = own.get("/v1/pauses", Authorization="Bearer an-operator-token-of-the-tests")
    own.configure()
    own.signal(signal.SIGHUP)
    patience.until(lambda: "nobody would be asked who they are" in own.log)

    assert (without.status, with_token.status, own.get("/v1/pauses").status) == (401, 200, 401)
    assert json.loads(with_token.body)["pauses"] == []


def test_what_can_not_be_made_of_a_right_configuration_exits_2_in_one_sentence(own: Sidecar) -> None:
    (own.directory / "hash.key").symlink_to("nowhere")

    own.launch()
    code = own.wait()

    assert code == 2
    assert own.log.strip() == f"whatsapp-monitor: {own.directory}/hash.key can't be made: File exists"


def test_a_pipe_where_a_secret_should_be_holds_up_neither_reloads_nor_the_end(own: Sidecar) -> None:
    own.start()
    os.mkfifo(own.directory / "pipe")
    own.configure(forward=[{"name": "app", "url": "http://127.0.0.1:9", "authorization": {"credentials_file": "pipe"}}])

    answers = [own.reload().status for _ in range(2)]
    own.configure()
    answers.append(own.reload().status)

    assert answers == [500, 500, 200]
    assert own.terminate() == 0
