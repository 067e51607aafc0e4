"""A real Prometheus answers every query of the dashboards, and after a scene with an incident no panel is empty."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import boards
from tests.boards import Panel
from tests.harness import dashboard_scene as scene
from tests.harness.dashboard_scene import BUSY, QUIET, WABA_ID, Played

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

SERIES_MOST = 12  # more lines than that cannot be told apart
PAUSED, ALLOWED = 3, 0


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with scene.played(tmp_path_factory.mktemp("scene")) as made:
        yield made


def filled(played: Played, query: str) -> str:
    """Return the query as Grafana would ask it where Prometheus scrapes every second."""
    seconds = f"{int(played.end - played.start)}s"
    return boards.filled(query, {**boards.VALUES, "$__rate_interval": "8s", "$__range": seconds})


def shown(played: Played, query: str) -> list[dict[str, Any]]:
    """Return the series of a query over the scene that have a value at all."""
    found = played.prometheus.range(filled(played, query), played.start, played.end)
    return [series for series in found if any(not math.isnan(float(value)) for _, value in series["values"])]


def panel(board: str, title: str) -> Panel:
    return next(one for one in boards.panels() if (one.board, one.title) == (board, title))


def test_no_query_fails_no_panel_is_empty_and_none_has_too_many_series(played: Played) -> None:
    found = {(one.board, one.title): [shown(played, query) for query in one.queries] for one in boards.panels()}
    drawn = {(one.board, one.title) for one in boards.panels() if one.json["type"] != "table"}

    empty = [place for place, answers in found.items() if not any(answers)]
    crowded = [place for place in drawn if sum(map(len, found[place])) > SERIES_MOST]
    silent = {query for one in boards.panels() for query, answer in zip(one.queries, found[one.board, one.title],
                                                                        strict=True) if not answer}  # fmt: skip
    assert (empty, crowded) == ([], [])
    assert all(re.match(r"max by \(state, mode\) \(whatsapp_monitor_rule_firings", query) for query in silent)


def test_what_is_asked_for_the_present_moment_has_an_answer_in_the_middle_of_the_block(played: Played) -> None:
    present = [
        (one.board, one.title, target["expr"])
        for one in boards.panels()
        for target in one.json["targets"]
        if target.get("instant")
    ]

    empty = [(board, title) for board, title, query in present if not played.prometheus.query(filled(played, query))]

    assert len(present) > 30
    assert empty == []


def test_pauses_reloads_and_drills_are_found_for_marking(played: Played) -> None:
    for name in boards.TITLES:
        marks = {one["name"]: shown(played, one["expr"]) for one in boards.annotations(name)}

        assert all(marks.values()), name
        for title in ("Reloads", "Drills"):
            times = {float(value) / 1000 for series in marks[title] for _, value in series["values"]}
            assert all(played.start - 20 <= at <= played.end for at in times)
            assert len(times) == {"Reloads": 2, "Drills": 1}[title]  # the start counts as one


def test_the_variables_offer_what_there_is(played: Played) -> None:
    for name in boards.TITLES:
        offered = {
            variable: {one["metric"].get(label) for one in played.prometheus.query(filled(played, selector))} - {None}
            for variable, (selector, label) in boards.selectors(name).items()
        }

        assert offered["job"] == {"whatsapp-monitor"}
        assert len(offered["instance"]) == 1
        assert offered.get("waba_id", {WABA_ID}) == {WABA_ID}
        assert offered.get("phone_number_id", {BUSY, QUIET}) == {BUSY, QUIET}
        assert "spring_offer" in offered.get("campaign", {"spring_offer"})


def test_the_overview_says_that_sending_is_paused_since_when_and_why(played: Played) -> None:
    sending, since, why = [
        played.prometheus.query(filled(played, panel("overview", title).queries[0]))
        for title in ("Sending", "Paused since", "Why: pauses in force")
    ]

    course = shown(played, panel("overview", "Sending over time").queries[0])

    (block,) = [one for one in why if one["metric"].get("rule") == "policy_block"]
    assert float(sending[0]["value"][1]) == PAUSED
    assert block["metric"] == {"scope": "waba", "scope_id": WABA_ID, "rule": "policy_block", "code": "368"}
    assert played.end - 25 < float(since[0]["value"][1]) / 1000 < played.end
    assert {PAUSED, ALLOWED} <= {float(value) for series in course for _, value in series["values"]}


def test_the_choice_of_a_sender_leaves_out_the_pauses_of_others(played: Played) -> None:
    query = panel("overview", "Sending").queries[0]
    values = {**boards.VALUES, "$waba_id": "someone", "$phone_number_id": "else"}

    (free,) = played.prometheus.query(boards.filled(query, values))

    assert float(free["value"][1]) == ALLOWED


def test_where_no_monitor_is_scraped_nothing_is_said_to_be_allowed(played: Played) -> None:
    before = played.start - 3600

    sending = played.prometheus.range(filled(played, panel("overview", "Sending").queries[0]), before, before)
    monitor = played.prometheus.range(filled(played, panel("overview", "Monitor").queries[0]), before, before)

    assert sending == []
    assert [series["values"][0][1] for series in monitor] == ["0"]


def test_the_times_of_messages_have_exemplars_with_their_traces(played: Played) -> None:
    asked = {target["expr"] for one in boards.panels() for target in one.json["targets"] if target.get("exemplar")}

    for query in asked:
        found = played.prometheus.exemplars(filled(played, query))

        assert found
        assert all(len(labels["trace_id"]) == 32 for labels in found)
