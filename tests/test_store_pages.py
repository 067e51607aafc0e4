"""Pages of records: newest first, each behind the one before, narrowed by what is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from monitor.store.protocol import Campaign, Commit, Enqueue
from monitor.store.sqlite import SqliteStore
from tests import records
from tests.records import NOW

LISTED: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "pauses": (records.pause, {"active_at": None}),
    "flags": (records.flag, {"is_open": None}),
    "firings": (records.firing, {"is_live": None}),
    "resends": (records.resend, {"state": ""}),
    "incidents": (records.incident, {}),
    "audit": (records.note, {}),
}
NO_CURSORS = ["", "word", "-1", "²", "9" * 19, "9" * 5_000]


@pytest.mark.parametrize("kind", LISTED)
async def test_records_are_listed_newest_first_and_the_last_page_has_no_cursor(store: SqliteStore, kind: str) -> None:
    made, wanted = LISTED[kind]
    told = [made(number) for number in range(5)]
    await store.commit(Commit(1, NOW, changes=told))
    listed = getattr(store, kind)

    first = await listed("", 3, **wanted)
    second = await listed(first.next_cursor, 2, **wanted)

    assert first.items == [told[4], told[3], told[2]]
    assert second.items == [told[1], told[0]]
    assert second.next_cursor == ""


@pytest.mark.parametrize(
    ("kind", "changed", "wanted", "found"),
    [
        ("pauses", {"released_at": NOW}, {"active_at": NOW + 1}, [1]),
        ("pauses", {"until": NOW + 5}, {"active_at": NOW + 4}, [1, 0]),
        ("pauses", {"until": NOW + 5}, {"active_at": NOW + 5}, [1]),
        ("pauses", {"until": NOW + 5}, {"active_at": None}, [1, 0]),
        ("flags", {"resolved_at": NOW}, {"is_open": True}, [1]),
        ("flags", {"resolved_at": NOW}, {"is_open": False}, [0]),
        ("flags", {"resolved_at": NOW}, {"is_open": None}, [1, 0]),
        ("firings", {"ended_at": NOW}, {"is_live": True}, [1]),
        ("firings", {"ended_at": NOW}, {"is_live": False}, [0]),
        ("firings", {"ended_at": NOW}, {"is_live": None}, [1, 0]),
        ("resends", {"state": "dropped"}, {"state": "pending"}, [1]),
        ("resends", {"state": "dropped"}, {"state": "dropped"}, [0]),
        ("resends", {"state": "dropped"}, {"state": ""}, [1, 0]),
    ],
)
async def test_a_record_keeps_its_place_and_is_listed_as_it_is_now(
    store: SqliteStore, kind: str, changed: dict[str, Any], wanted: dict[str, Any], found: list[int]
) -> None:
    made = LISTED[kind][0]
    now = [made(0, **changed), made(1)]
    await store.commit(Commit(1, NOW, changes=[made(0), made(1)]))
    await store.commit(Commit(2, NOW, changes=[now[0]]))

    page = await getattr(store, kind)("", 9, **wanted)

    assert page.items == [now[number] for number in found]


@pytest.mark.parametrize("kind", ["pause", "flag", "firing", "resend", "incident", "alert"])
async def test_a_record_is_found_by_its_id_and_an_unknown_id_is_none(store: SqliteStore, kind: str) -> None:
    made = getattr(records, kind)
    await store.commit(Commit(1, NOW, changes=[made(0), made(1)]))
    found = getattr(store, kind)

    assert await found(made(1).id) == made(1)
    assert await found("unknown") is None


@pytest.mark.parametrize("cursor", NO_CURSORS)
async def test_what_is_no_cursor_stands_for_the_newest(store: SqliteStore, cursor: str) -> None:
    sent = [records.message(number) for number in range(2)]
    await store.commit(Commit(1, NOW, sent, changes=[records.pause(0)], outbox=[Enqueue("am", "alertmanager", "a0")]))

    assert (await store.pauses(cursor, 9, active_at=None)).items == [records.pause(0)]
    assert (await store.recent_messages(cursor, 9, people=[], state="")).items == sent[::-1]
    assert [row.reference for row in (await store.outbox(cursor, 9, state="", destination="")).items] == ["a0"]


async def test_a_page_that_all_fit_into_is_the_last_one(store: SqliteStore) -> None:
    rows = [Enqueue("am", "alertmanager", f"a{number}") for number in range(2)]
    await store.commit(Commit(1, NOW, [records.message(number) for number in range(2)], outbox=rows))

    messages = await store.recent_messages("", 2, people=[], state="")
    outbox = await store.outbox("", 2, state="", destination="")

    assert (len(messages.items), messages.next_cursor) == (2, "")
    assert (len(outbox.items), outbox.next_cursor) == (2, "")


async def test_the_campaign_heard_of_last_stands_first_with_all_that_was_counted(store: SqliteStore) -> None:
    for number, name in enumerate(["spring", "summer", "autumn", "spring"]):
        await store.commit(
            Commit(1, NOW + number, counts={(name, "sent"): 2, (name, "read"): number, ("all", "sent"): 1})
        )

    page = await store.campaigns("", 9)

    assert page.items == [
        Campaign("all", NOW, NOW + 3, {"sent": 4}),
        Campaign("spring", NOW, NOW + 3, {"read": 3, "sent": 4}),
        Campaign("autumn", NOW + 2, NOW + 2, {"read": 2, "sent": 2}),
        Campaign("summer", NOW + 1, NOW + 1, {"read": 1, "sent": 2}),
    ]
    assert page.next_cursor == ""


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_pages_of_campaigns_follow_their_cursor_though_some_were_heard_of_at_once(
    store: SqliteStore, limit: int
) -> None:
    for number, names in enumerate(["ab", "c", "d"]):
        await store.commit(Commit(1, NOW + number / 4, counts={(name, "sent"): 1 for name in names}))

    pages = [await store.campaigns("", limit)]
    while pages[-1].next_cursor:
        pages.append(await store.campaigns(pages[-1].next_cursor, limit))

    assert [one.campaign for page in pages for one in page.items] == ["d", "c", "b", "a"]
    assert len(pages) == -(-4 // limit)


@pytest.mark.parametrize("cursor", [*NO_CURSORS, "1_", "_1", "1.2.3_1", "1_word", "²_1", "1_²", f"1_{'9' * 30}"])
async def test_what_is_no_cursor_of_campaigns_stands_for_the_newest(store: SqliteStore, cursor: str) -> None:
    await store.commit(Commit(1, NOW, counts={("spring", "sent"): 1}))

    assert [one.campaign for one in (await store.campaigns(cursor, 9)).items] == ["spring"]


async def test_whoever_neither_read_nor_answered_what_was_delivered_is_unengaged(store: SqliteStore) -> None:
    spring = {"campaign": "spring"}
    idle = records.delivered(0, NOW, **spring)
    sent = [
        idle,
        records.delivered(1, NOW + 10, **spring),
        records.delivered(2, NOW, replied_at=NOW + 1, **spring),
        records.delivered(3, NOW, **spring, state="read"),
        records.message(4, **spring, state="delivered"),
        records.delivered(5, NOW, campaign="summer"),
        records.delivered(6, NOW),
    ]
    await store.commit(Commit(1, NOW, sent))

    assert (await store.unengaged("spring", NOW + 10, 0, 9)).items == [idle]
    assert (await store.unengaged("", NOW + 10, 0, 9)).items == []


async def test_pages_of_the_unengaged_end_and_pass_over_whoever_answered(store: SqliteStore) -> None:
    idle = [records.delivered(number, NOW, campaign="spring") for number in range(5)]
    sent = [replace(one, replied_at=NOW) if one.wamid in {"wamid.1", "wamid.2"} else one for one in idle]
    await store.commit(Commit(1, NOW, sent))

    found = []
    after = "0"
    while after:
        page = await store.unengaged("spring", NOW + 1, int(after), 2)
        found.append([one.wamid for one in page.items])
        after = page.next_cursor

    assert found == [["wamid.0"], ["wamid.3"], ["wamid.4"]]
