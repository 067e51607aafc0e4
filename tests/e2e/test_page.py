"""The status page in a real browser: live, usable by everybody, and deaf to what payloads would like it to do."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from monitor import payloads
from tests.harness import browser, meta, patience
from tests.harness.meta import NUMBER, WABA_ID
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

PHONE = {"width": 390, "height": 844}
TOKEN = "operator-token-of-the-tests"
LIVE = re.compile("^Live$")
HOSTILE = (
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
    "<div hx-get=/metrics hx-trigger=load></div>'\"><a href=javascript:pwned>\u2028</textarea>"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.running() as made:
        yield made


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path) as made:
        made.start()
        yield made


@contextmanager
def opened(chromium: Browser, sidecar: Sidecar, path: str = "/", **options: Any) -> Iterator[Page]:
    """Open a page as a browser of its own; AssertionError at the end where it complained of anything."""
    complaints: list[str] = []
    context = chromium.new_context(base_url=sidecar.web_url, **options)
    context.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error('CSP: ' + event.violatedDirective))"
    )
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.goto(path)
    yield page
    context.close()
    meant = re.compile(r"ERR_|status of 4|^\[object Event\]$")  # connections that were cut (twice), and refusals
    assert [text for text in complaints if not meant.search(text)] == []


def block(sidecar: Sidecar) -> str:
    """Let Meta block the account; return the pause's id."""
    with meta.of(sidecar) as sender:
        assert sender.error(368).status == 200
    return str(patience.until(lambda: sidecar.get("/v1/pauses").json()["pauses"])[0]["id"])


def hear(sidecar: Sidecar, *items: dict[str, object]) -> None:
    with meta.of(sidecar) as sender:
        assert sender.statuses(*items).status == 200
    sidecar.settle()


def sent(wamid: str = "wamid.1", **more: Any) -> dict[str, Any]:
    return payloads.status(wamid, "sent", time.time(), **more)


def fill(page: Page, act: str, *, actor: str = "ann", reason: str = "appeal granted") -> None:
    form = page.get_by_role("region", name=act)
    form.get_by_label("Your name").fill(actor)
    form.get_by_label("Reason").fill(reason)
    form.get_by_role("button", name=act).click()


def faults(page: Page) -> list[str]:
    """Return what axe-core finds that is serious or worse."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in {"serious", "critical"}]


def test_an_incident_and_its_end_appear_without_reloading_and_are_read_aloud(
    chromium: Browser, sidecar: Sidecar
) -> None:
    hear(sidecar, sent())
    with opened(chromium, sidecar) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Sending is allowed")
        expect(page.locator("#link")).to_have_text(LIVE)
        page.evaluate("window.isSame = true")

        pause_id = block(sidecar)

        expect(page.get_by_role("heading", level=1)).to_have_text("Sending is paused", timeout=2_000)
        expect(page.get_by_role("status").first).to_contain_text(
            "Sending is paused. Account 100000000000001: all messages"
        )
        expect(page).to_have_title("Sending is paused · WhatsApp monitor")
        expect(page.get_by_role("row", name=NUMBER).get_by_role("link", name="paused")).to_have_count(4)
        assert sidecar.post(f"/v1/pauses/{pause_id}/resume", actor="ann", reason="over").status == 200
        expect(page.get_by_role("heading", level=1)).to_have_text("Sending is allowed", timeout=2_000)
        assert page.evaluate("window.isSame") is True


def test_a_pause_is_released_by_keyboard_alone(chromium: Browser, sidecar: Sidecar) -> None:
    block(sidecar)
    with opened(chromium, sidecar) as page:
        keys = page.keyboard
        keys.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        keys.press("Enter")
        keys.press("Tab")
        keys.press("Tab")
        link = page.locator(".verdict").get_by_role("link", name="Review, release or extend")
        expect(link).to_be_focused()
        assert link.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
        keys.press("Enter")
        expect(page.get_by_role("heading", level=2, name="Release")).to_be_visible()

        page.get_by_label("At once").focus()
        keys.press("Tab")
        keys.type("ann")
        keys.press("Tab")
        keys.type("appeal granted")
        keys.press("Enter")

        expect(page.get_by_role("heading", level=1)).to_contain_text("not paused any more")
    assert sidecar.get(f"/v1/gate/{NUMBER}").status == 200
    newest = sidecar.get("/v1/audit").json()["audit"][0]
    assert (newest["actor"], newest["action"], newest["reason"]) == ("ann", "resume", "appeal granted")


def test_a_stale_tab_can_t_release_again(chromium: Browser, sidecar: Sidecar) -> None:
    path = f"/pauses/{block(sidecar)}"
    with opened(chromium, sidecar, path) as mine, opened(chromium, sidecar, path) as theirs:
        fill(mine, "Release")
        expect(mine.get_by_role("heading", level=1)).to_contain_text("not paused any more")

        fill(theirs, "Release", actor="bob")

        expect(theirs.get_by_role("heading", level=1)).to_have_text("It is no longer as you saw it")
        theirs.get_by_role("link", name="See how it is now").click()
        expect(theirs.get_by_text("by ann: appeal granted")).to_be_visible()
    acts = [one["actor"] for one in sidecar.get("/v1/audit").json()["audit"] if one["action"].startswith("resume")]
    assert acts == ["ann"]


def test_hostile_strings_in_payloads_and_acts_stay_text_in_what_is_served_and_what_is_swapped(
    chromium: Browser, sidecar: Sidecar
) -> None:
    with opened(chromium, sidecar) as page:
        expect(page.locator("#link")).to_have_text(LIVE)
        hostile = [
            payloads.status(f"wamid.{HOSTILE}.{serial}", "failed", time.time(), codes=(506,), callback_data=HOSTILE)
            for serial in range(6)
        ]
        expired = payloads.status(f"wamid.{HOSTILE}", "failed", time.time(), codes=(131043,), callback_data=HOSTILE)
        with meta.of(sidecar) as sender:
            assert sender.statuses(*hostile, expired, number=HOSTILE[:60], waba_id=HOSTILE[:60]).status == 200
        ask = {"scope": "waba", "scope_id": HOSTILE[:150], "actor": HOSTILE, "reason": HOSTILE}
        placed = sidecar.post("/v1/pauses", **ask).json()["pause"]["id"]
        expect(page.locator("#pauses ~ article")).to_contain_text("onerror")
        expect(page.locator("#flags ~ article")).to_contain_text("onerror")
        flag = sidecar.get("/v1/flags").json()["flags"][0]["id"]

        for path in ("", "/", f"/pauses/{placed}", f"/flags/{flag}"):
            if path:
                page.goto(path)
            page.wait_for_timeout(200)
            assert page.locator("main img, main script, main [hx-get], main a[href^=javascript]").count() == 0
            assert page.evaluate("window.pwned") is None
            expect(page.locator("main")).to_contain_text("<script>window.pwned=1</script>")


def test_a_search_finds_a_pasted_number_and_leaves_no_trace_of_it(chromium: Browser, sidecar: Sidecar) -> None:
    hear(sidecar, sent(recipient="15550001234"))
    with opened(chromium, sidecar) as page:
        page.get_by_role("searchbox", name="Message id or phone number").fill("+1 555 000 1234")
        page.get_by_role("searchbox", name="Message id or phone number").press("Enter")

        expect(page.get_by_role("heading", level=1)).to_have_text("1 message found")
        expect(page.get_by_role("heading", level=2)).to_contain_text("wamid.1")
        assert "1234" not in page.url
        assert "0001234" not in re.sub(r"\D", "", page.locator("main").inner_text()) + page.content()
    assert "0001234" not in re.sub(r"[ +]", "", sidecar.log)


def test_a_swap_keeps_what_a_reader_has_opened_typed_and_focused(chromium: Browser, sidecar: Sidecar) -> None:
    for place in range(8):
        with meta.of(sidecar) as sender:
            assert sender.statuses(sent(f"wamid.{place}"), number=f"20000000000000{place}").status == 200
    sidecar.settle()
    with opened(chromium, sidecar) as page:
        expect(page.locator("#link")).to_have_text(LIVE)
        page.locator("#free > summary").click()
        page.get_by_label("Show those with").fill("0003")
        expect(page.locator("#free-ids li:visible")).to_have_count(1)

        ask = {"phone_number_id": "200000000000007", "actor": "ann", "reason": "a review"}
        assert sidecar.post("/v1/pauses", **ask).status == 201

        expect(page.locator("#free > summary")).to_have_text("7 numbers may send in every lane")
        expect(page.get_by_label("Show those with")).to_be_focused()
        expect(page.get_by_label("Show those with")).to_have_value("0003")
        expect(page.locator("#free-ids li:visible")).to_have_count(1)


def test_without_javascript_all_is_readable_and_a_pause_can_be_released(chromium: Browser, sidecar: Sidecar) -> None:
    hear(sidecar, sent())
    pause_id = block(sidecar)
    with opened(chromium, sidecar, java_script_enabled=False) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Sending is paused")
        expect(page.locator("noscript meta")).to_have_attribute("content", "15")
        expect(page.locator(".verdict .age").first).to_have_text(re.compile(r"\(\d+ s ago\)"))
        expect(page.locator(".plot svg polyline")).to_have_count(6)
        expect(page.get_by_role("row", name="sent").first).to_have_text(re.compile("^sent111$"))

        page.locator(".verdict").get_by_role("link", name="Review, release or extend").click()
        fill(page, "Release")

        expect(page.get_by_role("heading", level=1)).to_contain_text("not paused any more")
    assert sidecar.get("/v1/pauses").json()["pauses"] == []
    assert pause_id in sidecar.get("/v1/audit").json()["audit"][0]["target"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page_and_a_phone_need_not_scroll_sideways(
    chromium: Browser, sidecar: Sidecar, scheme: Any
) -> None:
    items = [
        payloads.status(f"wamid.HBgLMTU1NTAwMDAwMDEVAgARGBI{place:020d}", "failed", time.time(), codes=(code,))
        for place, code in enumerate((506, 506, 506, 506, 506, 131043))
    ]
    hear(sidecar, sent(), *items)
    with opened(chromium, sidecar, viewport=PHONE, color_scheme=scheme) as page:
        expect(page.locator("#link")).to_have_text(LIVE)
        assert faults(page) == []
        pause_id = block(sidecar)
        asked = sidecar.post("/v1/pauses", waba_id=WABA_ID, actor="ann", reason="x", **{"for": "1h"}).json()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sending is paused")
        for summary in page.locator("summary").all():
            summary.click()
        flag_id = sidecar.get("/v1/flags").json()["flags"][0]["id"]
        incident_id = sidecar.get("/v1/incidents").json()["incidents"][0]["id"]
        pages = ("", f"/pauses/{pause_id}", f"/pauses/{asked['pause']['id']}", f"/flags/{flag_id}",
                 f"/incidents/{incident_id}", "/pauses/p9-9")  # fmt: skip

        for path in pages:
            if path:
                page.goto(path)
            assert faults(page) == [], path
            for width in (390, 320):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.evaluate("document.documentElement.removeAttribute('lang')")
        assert [fault.partition(":")[0] for fault in faults(page)] == ["html-has-lang"]


def test_the_charts_are_drawn_and_again_in_other_colours(chromium: Browser, sidecar: Sidecar) -> None:
    hear(sidecar, sent())
    with opened(chromium, sidecar, color_scheme="light") as page:
        expect(page.locator(".plot canvas")).to_have_count(4)
        shot = page.locator(".charts").screenshot()

        page.emulate_media(color_scheme="dark")

        expect(page.locator(".plot canvas")).to_have_count(4)
        assert page.locator(".charts").screenshot() != shot


def test_a_lost_connection_is_said_and_after_a_restart_the_page_is_as_things_stand(
    chromium: Browser, sidecar: Sidecar
) -> None:
    with opened(chromium, sidecar) as page:
        expect(page.locator("#link")).to_have_text(LIVE)

        sidecar.kill()
        expect(page.locator("#link")).to_contain_text("Connection lost")
        sidecar.start()
        block(sidecar)

        expect(page.get_by_role("heading", level=1)).to_have_text("Sending is paused", timeout=10_000)
        expect(page.locator("#link")).to_have_text(LIVE)


def test_a_token_opens_the_page_until_it_is_signed_out_of_and_links_from_elsewhere_find_it_open(
    chromium: Browser, tmp_path: Path
) -> None:
    with Sidecar(tmp_path, web={"operator_tokens": [TOKEN]}) as sidecar:
        sidecar.start()
        with opened(chromium, sidecar) as page:
            page.get_by_label("Operator token").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("no operator token")
            assert faults(page) == []
            page.get_by_label("Operator token").fill(TOKEN)
            page.get_by_label("Operator token").press("Enter")
            expect(page.get_by_role("heading", level=1)).to_have_text("Sending is allowed")
            expect(page.locator("#link")).to_have_text(LIVE)

            page.goto(f"http://localhost:{sidecar.web_port}/-/healthy")
            page.evaluate(
                "(url) => Object.assign(document.body.appendChild(document.createElement('a')), { href: url }).click()",
                f"{sidecar.web_url}/",
            )

            expect(page.get_by_role("heading", level=1)).to_have_text("Sending is allowed")
            assert page.evaluate("document.cookie") == ""
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_label("Operator token")).to_be_visible()
            page.goto("/")
            expect(page.get_by_label("Operator token")).to_be_visible()
