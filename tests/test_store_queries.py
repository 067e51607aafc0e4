"""What the store says of the present: what stands, who may be written to, and what is due."""

from typing import Any

import pytest

from monitor.conversations import Window
from monitor.memory import Number
from monitor.standing import KEPT_SECONDS
from monitor.states import State
from monitor.store import queries
from monitor.store.protocol import Arrival, Commit
from monitor.store.sqlite import SqliteStore
from monitor.windows import Value
from tests import records
from tests.records import NOW


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("pauses", records.pause(0, until=NOW)),
        ("pauses", records.pause(0, until=NOW + 9, released_at=NOW)),
        ("flags", records.flag(0, resolved_at=NOW)),
        ("alerts", records.alert(0)),
        ("incidents", records.incident(0, closed_at=NOW)),
    ],
)
async def test_what_is_over_stands_a_little_longer_and_then_no_more(store: SqliteStore, kind: str, change: Any) -> None:
    await store.commit(Commit(1, NOW, changes=[change]))

    meanwhile = await store.standing(NOW + KEPT_SECONDS - 1)
    later = await store.standing(NOW + KEPT_SECONDS + 1)

    assert dict(getattr(meanwhile, kind)) == {change.id: change}
    assert not getattr(later, kind)


async def test_what_is_not_over_stands_however_old_it_is(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, changes=[records.pause(0), records.flag(0), records.incident(0)]))

    standing = await store.standing(NOW + 1e8)

    assert (list(standing.pauses), list(standing.flags), list(standing.incidents)) == (["p0"], ["f0"], ["i0"])


async def test_a_judged_pause_stands_as_long_as_its_judgement(store: SqliteStore) -> None:
    judged = records.pause(0, released_at=NOW, reinstated_until=NOW + 1e6)
    await store.commit(Commit(1, NOW, changes=[judged]))

    assert dict((await store.standing(NOW + 1e6)).pauses) == {"p0": judged}
    assert not (await store.standing(NOW + 2e6)).pauses


async def test_a_firing_lives_until_its_end_and_the_rest_of_its_rule(store: SqliteStore) -> None:
    live, ended = records.firing(0), records.firing(1, ended_at=NOW)
    resting = records.firing(2, ended_at=NOW, rests_until=NOW + 60)
    await store.commit(Commit(1, NOW, changes=[live, ended, resting]))

    assert await store.live_firings(NOW) == [live, resting]
    assert await store.live_firings(NOW + 60) == [live]


async def test_of_a_state_only_the_last_word_is_kept_the_newest_last(store: SqliteStore) -> None:
    def word(account: str, value: str, at: float) -> State:
        return State("account_review", account, value, at, at)

    await store.commit(Commit(1, NOW, states=[word("1", "PENDING", NOW), word("2", "PENDING", NOW + 1)]))
    await store.commit(Commit(2, NOW, states=[word("1", "APPROVED", NOW + 2)]))

    assert await store.states() == [word("2", "PENDING", NOW + 1), word("1", "APPROVED", NOW + 2)]


async def test_the_number_seen_last_stands_last_with_what_was_learnt(store: SqliteStore) -> None:
    numbers = [Number("1", "100", "#1", NOW, NOW - 9), Number("2", "100", "#2", NOW + 1), Number("3", "100", "", NOW)]
    seen_again = Number("1", "100", "#1", NOW + 2)
    await store.commit(Commit(1, NOW, numbers=numbers))
    await store.commit(Commit(2, NOW, numbers=[seen_again]))

    assert await store.numbers() == [numbers[2], numbers[1], seen_again]


async def test_the_last_value_of_a_fact_is_kept_in_each_group(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, values=[Value("one", "a", "x", NOW), Value("one", "b", "x", NOW)]))
    await store.commit(Commit(2, NOW, values=[Value("one", "a", "y", NOW + 1)]))

    assert await store.rule_values() == [Value("one", "a", "y", NOW + 1), Value("one", "b", "x", NOW)]


async def test_open_windows_are_told_the_one_that_closes_last_standing_last(store: SqliteStore) -> None:
    first, second = Window("200", "#1", NOW + 90, "alias"), Window("200", "#2", NOW + 60)
    await store.commit(Commit(1, NOW, conversations=[first, second, Window("200", "#3", NOW)]))
    await store.commit(Commit(2, NOW, conversations=[Window("200", "#1", NOW + 30, "alias")]))

    assert await store.conversations(NOW) == [second, first]
    assert await store.conversations(NOW + 60) == [first]


async def test_no_more_is_told_than_memory_has_room_for_and_of_windows_one_that_shows_it_is_full(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NUMBERS_MOST", "STATES_MOST", "WINDOWS_MOST"):
        monkeypatch.setattr(queries, name, 2)
    times = [NOW + number for number in range(5)]
    numbers = [Number(f"{at}", "100", "", at) for at in times]
    states = [State("account_review", f"{at}", "PENDING", at, at) for at in times]
    windows = [Window("200", f"{at}", at + 60) for at in times]
    await store.commit(Commit(1, NOW, numbers=numbers, states=states, conversations=windows))

    assert await store.numbers() == numbers[-2:]
    assert await store.states() == states[-2:]
    assert await store.conversations(NOW) == windows[-3:]


async def test_a_person_is_all_hashes_that_stand_for_it_whichever_is_asked_for(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, aliases={"b": "a", "c": "a", "y": "x"}))

    abc, xy = ("a", "b", "c"), ("x", "y")
    assert await store.people(list("abcxz")) == {"a": abc, "b": abc, "c": abc, "x": xy, "z": ("z",)}


async def test_who_stopped_marketing_is_told_until_they_start_again(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, preferences={"#1": (True, NOW), "#2": (True, NOW), "#3": (True, NOW + 9)}))
    await store.commit(Commit(2, NOW, preferences={"#2": (False, NOW + 1), "#3": (False, NOW)}))

    assert await store.preferences(["#1", "#2", "#4"]) == {"#1": (True, NOW), "#2": (False, NOW + 1)}
    assert await store.preferences(["#3"]) == {"#3": (True, NOW + 9)}


async def test_the_longest_overdue_messages_are_judged_first(store: SqliteStore) -> None:
    due = {0: NOW + 2, 1: NOW, 2: NOW + 1, 3: NOW + 3, 4: None}
    await store.commit(Commit(1, NOW, [records.message(number, due_at=at) for number, at in due.items()]))

    assert await store.due_messages(NOW + 2, 9) == ["wamid.1", "wamid.2", "wamid.0"]
    assert await store.due_messages(NOW + 2, 2) == ["wamid.1", "wamid.2"]


async def test_messages_that_graph_took_and_nobody_spoke_of_since_are_counted_by_number(store: SqliteStore) -> None:
    about = [("1", NOW), ("1", NOW + 1), ("2", NOW), ("2", NOW + 5), ("3", NOW + 5)]
    taken = [
        records.message(number, phone_number_id=one, started_at=at, state="accepted")
        for number, (one, at) in enumerate(about)
    ]
    await store.commit(Commit(1, NOW, [*taken, records.message(9, phone_number_id="1", started_at=NOW)]))

    assert await store.silent(NOW + 5) == {"1": 2, "2": 1}


async def test_the_newest_of_all_drills_is_told(store: SqliteStore) -> None:
    before = await store.newest_drill()
    drills = [records.note(number, action="drill") for number in range(2)]

    await store.commit(Commit(1, NOW, changes=[*drills, records.note(2)]))

    assert (before, await store.newest_drill()) == (None, drills[1])


@pytest.mark.parametrize(
    ("fields", "is_awaited"),
    [
        ({"state": "pending"}, True),
        ({"state": "claimed"}, False),
        ({"state": "dropped"}, False),
        ({"state": "sent", "retry_wamid": "wamid.9", "outcome": ""}, True),
        ({"state": "sent", "retry_wamid": "wamid.9", "outcome": "delivered"}, True),
        ({"state": "sent", "retry_wamid": "wamid.9", "outcome": "read"}, False),
        ({"state": "sent", "retry_wamid": "wamid.9", "outcome": "failed"}, False),
    ],
)
async def test_a_resend_is_awaited_until_its_retry_has_come_to_an_end(
    store: SqliteStore, fields: dict[str, Any], is_awaited: bool
) -> None:
    one = records.resend(0, **fields)
    await store.commit(Commit(1, NOW, changes=[records.resend(0)]))

    await store.commit(Commit(2, NOW, changes=[one]))

    assert await store.waiting_resends() == [one] * is_awaited
    assert await store.resends_by_id(["r0", "r9"]) == {"r0": one}


async def test_resends_that_wait_or_whose_lease_is_over_are_due_in_their_order(store: SqliteStore) -> None:
    later = records.resend(0, not_before=NOW + 2)
    leased = records.resend(1, state="claimed", not_before=NOW + 1)
    others = [
        records.resend(2, not_before=NOW + 3, phone_number_id="201"),
        records.resend(3, state="sent"),
        records.resend(4, state="withheld"),
    ]
    await store.commit(Commit(1, NOW, changes=[later, leased, *others]))

    assert await store.due_resends(NOW + 2, 9) == [leased, later]
    assert await store.due_resends(NOW + 2, 1) == [leased]
    assert await store.pending_resends() == {"200": 2, "201": 1}


async def test_a_message_has_one_resend_whoever_asks_for_another(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, changes=[records.resend(0)]))

    await store.commit(Commit(2, NOW, changes=[records.resend(1, wamid="wamid.0")]))

    assert await store.waiting_resends() == [records.resend(0)]


async def test_an_event_is_seen_once_and_its_first_time_is_kept(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, seen={"key": NOW}))
    await store.commit(Commit(2, NOW, seen={"key": NOW + 1}))

    assert await store.seen(["key", "other"]) == {"key": NOW}


async def test_the_head_is_the_newest_entry_or_what_was_acted_upon_where_that_is_gone(store: SqliteStore) -> None:
    empty = (await store.head(), await store.cursor())
    for number in range(2):
        await store.append(Arrival("tick", NOW, b"%d" % number))
    ahead = (await store.head(), await store.cursor())
    await store.commit(Commit(7, NOW))

    assert (empty, ahead, await store.head(), await store.cursor()) == ((0, 0), (2, 0), 7, 7)
