"""The verdicts of the status page: of each number and lane they say what the gate answers, in words for people."""

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import gate, standing
from monitor.actions import DRILL_ACCOUNT, META, OPERATOR, Pause
from monitor.probes import Probe
from monitor.standing import Standing
from monitor.web import verdicts
from monitor.web.verdicts import FREE, LANES, PAUSED, SLOWED, Overview

NOW = 1_000.0
WABAS = {"200": "100", "201": "100", "300": "101"}


def pause(scope: str, scope_id: str = "", **more: object) -> Pause:
    made = Pause(
        id=f"p-{scope}-{scope_id}", scope=scope, scope_id=scope_id, lane="all", rule="rule", code=368, reason="why",
        actor="rule:rule", since=NOW - 60, until=None, asked_scope=scope,
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def over(*pauses: Pause, wabas: dict[str, str] = WABAS, quotas: dict[str, float] | None = None) -> Overview:
    return verdicts.of(standing.of(pauses), wabas, {}, quotas or {}, NOW)


def cells(overview: Overview) -> dict[str, tuple[str, ...]]:
    return {row.phone_number_id: tuple(cell.state for cell in row.cells) for row in (*overview.rows, *overview.free)}


pauses = st.builds(
    pause,
    st.sampled_from(["all", "waba", "phone_number", "category", "template", "recipient"]),
    st.sampled_from(["100", "101", "200", "300", "marketing", "utility"]),
    lane=st.sampled_from(["all", "business_initiated", "marketing"]),
    until=st.sampled_from([None, NOW - 1, NOW + 60]),
    released_at=st.sampled_from([None, NOW - 5]),
    per_second=st.sampled_from([None, None, 2.0]),
    waba_id=st.sampled_from(["", "100", "101"]),
    probe=st.sampled_from([None, Probe(NOW - 10, 0.1, 600.0, 600.0), Probe(NOW + 10, 0.1, 600.0, 600.0)]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pauses, max_size=6))
def test_each_cell_says_what_the_gate_answers(some: list[Pause]) -> None:
    named = [msgspec.structs.replace(one, id=f"p{place}-0") for place, one in enumerate(some)]
    told = cells(over(*named))

    for number, waba_id in WABAS.items():
        for place, (_, lane) in enumerate(LANES):
            ask = msgspec.structs.replace(lane, phone_number_id=number)
            wide = [one for one in named if one.scope not in standing.NARROW]
            verdict = gate.decide(wide, ask, WABAS, NOW)
            expected = PAUSED if not verdict.allow else SLOWED if verdict.limits else FREE
            assert told[number][place] == expected, (number, waba_id, lane)


@pytest.mark.parametrize(
    ("stops", "state", "title"),
    [
        ([], FREE, "Sending is allowed"),
        ([pause("all")], PAUSED, "Sending is paused"),
        ([pause("waba", "100")], PAUSED, "Sending is paused for 2 of 3 numbers"),
        ([pause("waba", "999")], PAUSED, "Sending is paused for account 999"),
        ([pause("waba", "100", lane="marketing")], PAUSED, "Marketing is paused for 2 of 3 numbers"),
        ([pause("all", lane="business_initiated")], PAUSED, "Everything but replies is paused"),
        ([pause("category", "utility")], PAUSED, "Some sending is paused"),
        ([pause("phone_number", "300", per_second=2.0)], SLOWED, "Sending is slowed down for 1 of 3 numbers"),
        ([pause("template", "offer")], FREE, "Sending is allowed"),
        ([pause("all", until=NOW - 1)], FREE, "Sending is allowed"),
        ([pause("waba", DRILL_ACCOUNT)], FREE, "Sending is allowed"),
    ],
)
def test_the_title_says_how_much_is_stopped(stops: list[Pause], state: str, title: str) -> None:
    overview = over(*stops)

    assert (overview.state, overview.title) == (state, title)


def test_a_stop_leads_before_a_wider_slowdown_and_a_drill_comes_last() -> None:
    slow = pause("all", per_second=1.0)
    stop = pause("phone_number", "200")
    drill = pause("waba", DRILL_ACCOUNT)

    overview = over(drill, slow, stop)

    assert [one.pause.id for one in overview.pauses] == [stop.id, slow.id, drill.id]
    assert overview.lead is not None
    assert overview.lead.pause.id == stop.id
    assert overview.more == 2


def test_what_the_head_says_is_not_changed_by_further_evidence() -> None:
    before = pause("waba", "100", evidence_count=1)
    after = msgspec.structs.replace(before, evidence_count=50)

    assert verdicts.said(over(before), is_loaded=True) == verdicts.said(over(after), is_loaded=True)
    assert over(before) != over(after)


def test_the_overview_knows_when_time_alone_will_change_it() -> None:
    probed = pause("waba", "101", until=NOW + 1_800, probe=Probe(NOW - 60, 0.1, 90.0, 600.0))

    assert over(pause("all")).next_at == float("inf")
    assert over(pause("all", until=NOW + 60)).next_at == NOW + 60
    assert over(probed).next_at == NOW + 30
    assert over(pause("all", per_second=1.0, until=NOW + 100, steps=2, step_seconds=30.0)).next_at == NOW + 40


@pytest.mark.parametrize(
    ("held", "words", "key"),
    [
        (pause("waba", "100", rule=OPERATOR), "account 100", "an operator"),
        (pause("template", "offer", rule=META, language="en"), "template offer (en)", "Meta"),
        (pause("recipient", "0123456789abcdef"), "recipient 01234567…", "rule rule"),
        (pause("pair", "200|hash"), "one number to one person", "rule rule"),
    ],
)
def test_a_pause_is_named_in_words_that_name_no_person(held: Pause, words: str, key: str) -> None:
    assert (verdicts.what(held), verdicts.key(held)) == (words, key)


@pytest.mark.parametrize(
    ("share", "state", "title"),
    [
        (0.4, SLOWED, "Sending is slowed down for 2 of 3 numbers"),
        (0.0, PAUSED, "Meta's quota is used up for 2 of 3 numbers"),
    ],
)
def test_meta_s_quota_holds_an_account_s_numbers_too(share: float, state: str, title: str) -> None:
    overview = over(quotas={"100": share})

    assert (overview.state, overview.title) == (state, title)
    assert cells(overview) == {"200": (state,) * 4, "201": (state,) * 4, "300": (FREE,) * 4}


def test_until_what_stands_is_loaded_the_page_does_not_say_that_sending_is_allowed() -> None:
    said = verdicts.said(over(), is_loaded=False)

    assert (said["state"], said["title"]) == (PAUSED, "Not known yet: the monitor is starting")


def test_ten_thousand_pauses_of_single_people_are_counted_and_few_are_shown() -> None:
    many = [pause("recipient", f"{place:024x}", since=NOW - place) for place in range(10_000)]
    stands: Standing = standing.of(many)

    started = time.perf_counter()
    overview = verdicts.of(stands, WABAS, {}, {}, NOW)
    seconds = time.perf_counter() - started

    assert (len(overview.pauses), overview.hidden) == (verdicts.NARROW_SHOWN, 10_000 - verdicts.NARROW_SHOWN)
    assert overview.narrow == {"recipient": 10_000}
    assert overview.state == FREE
    assert seconds < 0.5
