"""The status page's forms: nobody acts unseen, twice, from another site's page or without a reason."""

import asyncio
import html
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from monitor import app as application
from monitor import config, payloads
from monitor.app import App
from monitor.web.sessions import FORM_COOKIE
from tests.asgi import Answer, call
from tests.test_web import NUMBER, block, configured, get, hear, post

FORM = ("Content-Type", "application/x-www-form-urlencoded")


class Tab:
    """One open page of a browser: its form's hidden fields, and the cookie that came with it."""

    def __init__(self, app: App, path: str, page: Answer) -> None:
        self._app = app
        self._path = path
        self.status = page.status
        self.body = page.body.decode()
        self.cookie = page.headers.get("set-cookie", "").partition(";")[0]
        self.hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.body))

    async def send(self, act: str, **fields: str) -> Answer:
        headers = [FORM, ("Cookie", self.cookie), ("Sec-Fetch-Site", "same-origin")]
        body = urlencode({**self.hidden, **fields}).encode()
        return await call(self._app.internal, "POST", f"{self._path}/{act}", headers=headers, body=body)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    file = configured(tmp_path)
    built = application.build(config.load(file), file)
    await built.start()
    yield built
    await built.close()


async def tab(app: App, path: str) -> Tab:
    return Tab(app, path, await get(app, path))


async def placed(app: App, **more: str) -> dict[str, Any]:
    ask = {"phone_number_id": NUMBER, "actor": "ann", "reason": "a review", **more}
    pause: dict[str, Any] = (await post(app, "/v1/pauses", ask)).json()["pause"]
    return pause


async def audit(app: App) -> list[tuple[str, str, str]]:
    notes = (await get(app, "/v1/audit")).json()["audit"]
    return [(note["actor"], note["action"], note["reason"]) for note in notes]


async def test_a_pause_is_released_with_name_and_reason_and_its_page_then_says_so(app: App) -> None:
    pause = await block(app)
    open_tab = await tab(app, f"/pauses/{pause['id']}")

    answer = await open_tab.send("release", actor="bob", reason="appeal granted")

    assert (answer.status, answer.headers["location"]) == (303, f"/pauses/{pause['id']}")
    assert (await get(app, f"/v1/gate/{NUMBER}")).status == 200
    assert (await audit(app))[0] == ("bob", "resume", "appeal granted")
    after = await tab(app, f"/pauses/{pause['id']}")
    assert "by bob: appeal granted" in after.body
    assert "<form" not in after.body.partition("<main")[2]


async def test_a_stale_tab_can_t_release_again_and_is_told_how_it_is_now(app: App) -> None:
    pause = await block(app)
    first, second = [await tab(app, f"/pauses/{pause['id']}") for _ in range(2)]

    released = await first.send("release", actor="ann", reason="done")
    again = await second.send("release", actor="bob", reason="done too")

    assert (released.status, again.status) == (303, 409)
    assert "It is no longer as you saw it" in again.body.decode()
    assert f'href="/pauses/{pause["id"]}"' in again.body.decode()
    assert [note[0] for note in await audit(app) if note[1].startswith("resume")] == ["ann"]


async def test_of_two_who_release_at_the_same_time_exactly_one_does(app: App) -> None:
    pause = await block(app)
    tabs = [await tab(app, f"/pauses/{pause['id']}") for _ in range(5)]

    answers = await asyncio.gather(
        *(one.send("release", actor=f"a{place}", reason="r") for place, one in enumerate(tabs)),
        post(app, f"/v1/pauses/{pause['id']}/resume", {"actor": "api", "reason": "r"}),
    )

    assert sorted(answer.status in {200, 303} for answer in answers) == [False] * 5 + [True]
    assert len([note for note in await audit(app) if note[1].startswith("resume")]) == 1


async def test_a_tab_from_before_a_trial_or_an_extension_is_stale(app: App) -> None:
    blocked, timed = await block(app), await placed(app, **{"for": "1h"})
    before = await tab(app, f"/pauses/{blocked['id']}")
    assert (await before.send("release", actor="ann", reason="try", how="probe")).status == 303
    stale = await before.send("release", actor="bob", reason="now")
    first, second = [await tab(app, f"/pauses/{timed['id']}") for _ in range(2)]
    assert (await first.send("extend", actor="ann", reason="longer", **{"for": "4h"})).status == 303
    twice = await second.send("extend", actor="bob", reason="longer", **{"for": "1d"})

    assert (stale.status, twice.status) == (409, 409)
    pauses = (await get(app, "/v1/pauses")).json()["pauses"]
    assert {one["id"]: one["stage"] for one in pauses}[blocked["id"]] == "half_open"
    assert len(pauses) == 3


async def test_further_evidence_does_not_make_a_tab_stale(app: App) -> None:
    pause = await block(app)
    open_tab = await tab(app, f"/pauses/{pause['id']}")
    item = payloads.status("wamid.more", "failed", time.time(), codes=(368,))
    await hear(app, payloads.change(NUMBER, statuses=[item]))
    assert (await get(app, "/v1/pauses")).json()["pauses"][0]["evidence_count"] == 2

    assert (await open_tab.send("release", actor="ann", reason="done")).status == 303


async def test_an_extension_is_a_pause_of_the_operator_s_own_over_the_same(app: App) -> None:
    pause = await placed(app, lane="marketing", **{"for": "1h"})
    open_tab = await tab(app, f"/pauses/{pause['id']}")

    answer = await open_tab.send("extend", actor="bob", reason="weekend", **{"for": "1d"})

    longer = (await get(app, "/v1/pauses?limit=1")).json()["pauses"][0]
    assert answer.headers["location"] == f"/pauses/{longer['id']}"
    assert (longer["scope"], longer["scope_id"], longer["lane"]) == ("phone_number", NUMBER, "marketing")
    assert longer["until"] - time.time() == pytest.approx(86400, abs=5)
    assert (longer["actor"], longer["reason"]) == ("bob", "weekend")


@pytest.mark.parametrize(
    ("act", "fields", "status"),
    [
        ("release", {"actor": "ann"}, 422),
        ("release", {"reason": "x"}, 422),
        ("release", {"actor": " ", "reason": "x"}, 422),
        ("release", {"actor": "ann", "reason": "x", "how": "softly"}, 422),
        ("release", {"actor": "ann", "reason": "x", "more": "y"}, 422),
        ("release", {"actor": "ann", "reason": "x" * 501}, 422),
        ("release", {"actor": "ann", "reason": "x", "mark": "0" * 64}, 403),
        ("release", {"actor": "ann", "reason": "x", "mark": "é"}, 403),
        ("release", {"actor": "ann", "reason": "x", "seen": "0" * 16}, 409),
        ("extend", {"actor": "ann", "reason": "x", "for": "soon"}, 422),
        ("extend", {"actor": "ann", "reason": "x", "for": "30m"}, 409),
        ("release", {"actor": "ann", "reason": "x" * 70_000}, 413),
    ],
)
async def test_a_form_that_is_wrong_changes_nothing_and_is_told_what_is(
    app: App, act: str, fields: dict[str, str], status: int
) -> None:
    pause = await placed(app, **{"for": "1h"})
    open_tab = await tab(app, f"/pauses/{pause['id']}")

    answer = await open_tab.send(act, **fields)

    assert answer.status == status
    assert "Nothing was changed" in answer.body.decode()
    assert [one["id"] for one in (await get(app, "/v1/pauses")).json()["pauses"]] == [pause["id"]]


@pytest.mark.parametrize("header", [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example")])
async def test_another_site_s_page_can_t_send_a_form(app: App, header: tuple[str, str]) -> None:
    pause = await block(app)
    open_tab = await tab(app, f"/pauses/{pause['id']}")
    body = urlencode({**open_tab.hidden, "actor": "evil", "reason": "x"}).encode()
    headers = [FORM, ("Cookie", open_tab.cookie), ("Host", "127.0.0.1:9368"), header]

    answer = await call(app.internal, "POST", f"/pauses/{pause['id']}/release", headers=headers, body=body)

    assert answer.status == 403
    assert (await get(app, f"/v1/gate/{NUMBER}")).status == 403


async def test_a_mark_is_worth_nothing_without_the_browser_that_it_was_made_for(app: App) -> None:
    pause = await block(app)
    mine, theirs = [await tab(app, f"/pauses/{pause['id']}") for _ in range(2)]
    theirs.cookie = mine.cookie

    answer = await theirs.send("release", actor="ann", reason="x")

    assert mine.cookie.startswith(FORM_COOKIE)
    assert mine.hidden["mark"] != theirs.hidden["mark"]
    assert answer.status == 403


async def test_the_cookie_is_read_by_no_script_and_sent_by_no_other_site(app: App) -> None:
    pause = await block(app)

    answer = await get(app, f"/pauses/{pause['id']}")

    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


async def test_a_flag_is_resolved_once_and_an_incident_closed_once(app: App) -> None:
    now = time.time()
    for number in range(6):
        status = payloads.status(f"wamid.{number}", "failed", now, codes=(506,), callback_data="<i>import</i>")
        await hear(app, payloads.change(NUMBER, statuses=[status]))
    await block(app)
    flag = (await get(app, "/v1/flags?open=true")).json()["flags"][0]
    incident = (await get(app, "/v1/incidents")).json()["incidents"][0]

    flagged, told = await tab(app, f"/flags/{flag['id']}"), await tab(app, f"/incidents/{incident['id']}")
    answers = [
        await one.send(act, actor="ann", reason="seen to")
        for one, act in ((flagged, "resolve"), (flagged, "resolve"), (told, "close"), (told, "close"))
    ]

    assert [answer.status for answer in answers] == [303, 409, 303, 409]
    assert "&lt;i&gt;import&lt;/i&gt; (6)" in flagged.body
    assert "by ann: seen to" in (await tab(app, f"/flags/{flag['id']}")).body
    assert "by ann: seen to" in (await tab(app, f"/incidents/{incident['id']}")).body


@pytest.mark.parametrize("path", ["/pauses/p9-9", "/flags/f9-9", "/incidents/i9-9", "/pauses/%3Cb%3E"])
async def test_what_is_not_there_is_said(app: App, path: str) -> None:
    answer = await get(app, path)

    assert answer.status == 404
    assert b"There is no such thing" in answer.body
    assert b"<b>" not in answer.body


async def search(app: App, wanted: str) -> Answer:
    return await call(app.internal, "POST", "/search", headers=[FORM], body=urlencode({"wanted": wanted}).encode())


async def test_a_pasted_number_finds_its_messages_and_is_never_shown_or_logged(
    app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    for wamid in ("wamid.a", "wamid.b"):
        item = payloads.status(wamid, "delivered", time.time(), recipient="15550001234")
        await hear(app, payloads.change(NUMBER, statuses=[item]))

    found = (await search(app, "+1 (555) 000-1234")).body.decode()
    one = (await search(app, "wamid.b")).body.decode()
    none = (await search(app, "+1 555 999 0000")).body.decode()

    assert "2 messages found" in found
    assert re.findall(r"wamid\.[ab]", found) == ["wamid.b", "wamid.a"]
    assert ("1 message found" in one, "wamid.a" in one) == (True, False)
    assert "0 messages found" in none
    for text in (found, none, "".join(capfd.readouterr())):
        assert not re.search(r"5550001234|000-1234|999 0000|9990000", html.unescape(text))


@pytest.mark.parametrize("wanted", ["", " ", "x" * 600])
async def test_a_search_for_nothing_or_for_too_much_is_refused(app: App, wanted: str) -> None:
    assert (await search(app, wanted)).status == 422


async def test_a_search_in_an_address_is_not_answered(app: App) -> None:
    assert (await get(app, "/search?wanted=15550001234")).status == 405
