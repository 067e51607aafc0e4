"""Rules over HTTP: firings and shadows are shown, throttles are kept, and what fires leaves for its webhook."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor import app as application
from monitor import config, payloads
from monitor.app import App
from monitor.document import Mistaken
from tests.test_web import NUMBER, get, hear, post

RULES = """
rules:
  - name: slow
    match: {code: 130429}
    actions: [{throttle: {scope: phone_number, rate: 2/s, for: 1h}}]
  - name: shadow
    mode: shadow
    match: {code: 131026}
    by: [recipient]
    actions: [{pause: {scope: recipient, for: 1h}}]
  - name: told
    match: {code: 131000}
    actions: [{webhook: {to: crisis}}, {annotate: {text: it happened}}]
"""


def configured(folder: Path, webhook: str = "crisis") -> Path:
    (folder / "rules.yml").write_text(RULES)
    file = folder / "monitor.yml"
    file.write_text(
        "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}\nstore: {url: sqlite:///monitor.db}\n"
        f"rules: {{files: [rules.yml]}}\nalerts: {{webhooks: [{{name: {webhook}, url: 'http://127.0.0.1:9/'}}]}}\n"
    )
    return file


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = configured(tmp_path)
    built = application.build(config.load(file), file)
    await built.start()
    yield built
    await built.close()


async def fail(app: App, code: int, wamid: str = "wamid.1") -> None:
    item = payloads.status(wamid, "failed", time.time(), codes=(code,))
    await hear(app, payloads.change(NUMBER, statuses=[item]))
    await asyncio.sleep(0.05)  # metrics are counted a moment after those who asked the gate were answered


async def test_the_gate_lets_through_as_many_as_a_throttle_says(app: App) -> None:
    await fail(app, 130429)

    answers = [await get(app, f"/v1/gate/{NUMBER}") for _ in range(10)]
    other = await get(app, "/v1/gate/999")

    allowed = [answer for answer in answers if answer.status == 200]
    denied = answers[-1]
    assert 2 <= len(allowed) <= 4
    assert allowed[0].json()["reason"] == "throttled"
    assert allowed[0].json()["per_second"] == 2
    assert (denied.status, denied.json()["reason"], denied.headers["retry-after"]) == (403, "throttled", "1")
    assert other.status == 200
    metrics = (await get(app, "/metrics")).body.decode()
    assert 'whatsapp_gate_throttled_per_second{rule="slow",scope="phone_number",scope_id="200"} 2.0' in metrics
    assert "whatsapp_gate_paused{" not in metrics
    page = (await get(app, "/")).body.decode()
    assert "Sending is slowed down" in page
    assert "slowed down to 2 a second" in page


async def test_what_the_gate_refuses_feeds_no_rule(app: App) -> None:
    await fail(app, 130429)
    (before,) = (await get(app, "/v1/pauses")).json()["pauses"]

    for _ in range(50):
        await get(app, f"/v1/gate/{NUMBER}")

    assert (await get(app, "/v1/pauses")).json()["pauses"] == [before]
    assert len((await get(app, "/v1/firings")).json()["firings"]) == 1


async def test_a_shadow_is_shown_and_does_nothing(app: App) -> None:
    await fail(app, 131026)

    (firing,) = (await get(app, "/v1/firings?live=true")).json()["firings"]
    rules = {rule["name"]: rule for rule in (await get(app, "/v1/rules")).json()["rules"]}
    metrics = (await get(app, "/metrics")).body.decode()

    assert (firing["rule"], firing["mode"], firing["state"], list(firing["group"])) == (
        "shadow", "shadow", "firing", ["recipient"],
    )  # fmt: skip
    assert (rules["shadow"]["mode"], rules["shadow"]["firing"], rules["slow"]["firing"]) == ("shadow", 1, 0)
    assert (await get(app, "/v1/pauses")).json()["pauses"] == []
    assert 'whatsapp_monitor_rule_actions_total{action="pause",mode="shadow",rule="shadow"} 1.0' in metrics
    assert 'whatsapp_monitor_rule_firings{mode="shadow",rule="shadow",state="firing"} 1.0' in metrics
    assert "would act in 1 group(s)" in (await get(app, "/")).body.decode()


async def test_a_person_who_is_forgotten_stands_in_no_firing(app: App) -> None:
    await fail(app, 131026)
    (firing,) = (await get(app, "/v1/firings")).json()["firings"]
    person = firing["group"]["recipient"]

    await post(app, "/v1/people/forget", {"actor": "ann", "reason": "asked", "recipient": "15550000001"})

    told = (await get(app, "/v1/firings")).body.decode()
    assert person
    assert person not in told
    assert (await get(app, "/v1/firings?live=true")).json()["firings"] == []
    assert all(person not in str(one) for one in app.pipeline.memory.firings.values())


async def test_a_firing_leaves_for_its_webhook_and_a_note_stays(app: App) -> None:
    await fail(app, 131000)

    claims = await app.store.claim("crisis", time.time() + 3600, 60, 10)
    audit = [(one["action"], one["reason"]) for one in (await get(app, "/v1/audit")).json()["audit"]]

    assert [(claim.row.kind, claim.row.reference[0]) for claim in claims] == [("firing", "n")]
    assert ("annotation", "it happened") in audit
    assert ("fired", "") in audit


def test_a_webhook_that_is_not_configured_is_a_mistake(tmp_path: Path) -> None:
    file = configured(tmp_path, "crises")

    told = r"rules\.yml:11:5: told.*alerts.webhooks has none named crisis.*did you mean crises"
    with pytest.raises(Mistaken, match=told):
        config.load(file)
