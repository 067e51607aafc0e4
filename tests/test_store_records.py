"""What the store keeps of people, outboxes, answers and incidents, and how it lets go of them."""

import sqlite3

import msgspec
import pytest

from monitor import payloads
from monitor.conversations import Window
from monitor.store import queries
from monitor.store.protocol import (
    Arrival,
    Commit,
    Enqueue,
    FirstAnswer,
    Settlement,
    StoreUnavailableError,
)
from monitor.store.sqlite import SqliteStore
from monitor.windows import Value
from tests import records
from tests.records import NOW

ME, OTHER = "15550000001", "15550000002"


def body(*people: str) -> bytes:
    statuses = [payloads.status(f"wamid.{one}", "sent", NOW, recipient=one) for one in people]
    return payloads.delivery(payloads.change("200", statuses=statuses))


async def test_a_person_goes_out_of_every_body_but_those_that_wait_to_be_forwarded(store: SqliteStore) -> None:
    for arrival in (body(ME), body(ME, OTHER), body(OTHER), body(ME, ME)):
        await store.append(Arrival("webhook", NOW, arrival, "sha256=x"))
    claims = await store.claim("app", NOW, 60, 3)
    await store.settle([Settlement(claim.row.id, "done") for claim in claims], [])

    done = await store.erase(ME)
    entries = await store.read(0, 9)

    assert (done.entries, done.waiting, done.ids) == (2, 1, frozenset({ME}))
    assert [entry.kind for entry in entries] == ["erased", "webhook", "webhook", "webhook"]
    assert [ME.encode() in entry.body for entry in entries] == [False, False, False, True]
    assert OTHER.encode() in entries[1].body
    assert [entry.signature for entry in entries] == ["", "", "sha256=x", "sha256=x"]


async def test_a_longer_number_that_begins_alike_is_somebody_else_s(store: SqliteStore) -> None:
    await store.append(Arrival("webhook", NOW, body(f"{ME}9"), "sha256=x"))

    done = await store.erase(ME)

    assert (done.entries, done.waiting) == (0, 0)
    assert (await store.read(0, 9))[0].body == body(f"{ME}9")


async def test_of_a_forgotten_person_no_row_is_left_and_others_stay(store: SqliteStore) -> None:
    resend = records.resend(1, recipient="me")
    windows = [Window("200", person, NOW + 60, "") for person in ("me", "you")]
    values = [Value("one", "me", "x", NOW), Value("one", "you", "x", NOW)]
    people = [records.message(1, recipient="me"), records.message(2, recipient="you")]
    for key, person in (("k1", "me"), ("k2", "you"), ("k3", "me")):
        told = b'{"contacts":[{"wa_id":"1"}],"messages":[]}' if key != "k3" else b"no json"
        headers = [(b"content-length", b"42"), (b"x", b"y")]
        await store.keep_answer(FirstAnswer(key, b"d", 200, headers, told, person), NOW)
    aliases = {"other": "me"}
    changes = (resend, records.pause(1))
    await store.commit(Commit(1, NOW, people, conversations=windows, aliases=aliases, changes=changes, values=values))
    held = records.pause(2, scope="pair", scope_id="200|me")
    await store.commit(Commit(2, NOW, changes=[held], forgotten=["me"]))

    assert list(await store.messages(["wamid.1", "wamid.2"])) == ["wamid.2"]
    assert await store.resends_by_id(["r1"]) == {}
    assert [one.recipient for one in await store.conversations(NOW)] == ["you"]
    assert [one.group for one in await store.rule_values()] == ["you"]
    assert await store.people(["other"]) == {"other": ("other",)}
    mine, yours, odd = [await store.first_answer(key) for key in ("k1", "k2", "k3")]
    assert mine is not None
    assert yours is not None
    assert odd is not None
    assert (mine.body, mine.recipient, mine.headers) == (
        b'{"messages":[]}',
        "",
        [(b"content-length", b"15"), (b"x", b"y")],
    )
    assert (b"contacts" in yours.body, odd.body) == (True, b"")
    assert await store.pause("p1") == records.pause(1)


async def test_what_was_refused_for_good_waits_again_when_somebody_says_so(store: SqliteStore) -> None:
    for number in range(3):
        await store.append(Arrival("webhook", NOW, b"%d" % number, ""))
    claims = await store.claim("app", NOW, 60, 9)
    await store.settle([Settlement(claim.row.id, "dead", error="x") for claim in claims], [])

    first = await store.outbox("", 2, state="dead", destination="app")
    second = await store.outbox(first.next_cursor, 2, state="", destination="")
    await store.commit(Commit(1, NOW + 1, retried_rows=[(claims[0].row.id, "")]))
    one = [claim.row.id for claim in await store.claim("app", NOW + 1, 60, 9)]
    await store.commit(Commit(2, NOW + 2, retried_rows=[(0, "other"), (0, "app")]))
    rest = [claim.row.id for claim in await store.claim("app", NOW + 2, 60, 9)]

    ids = [claim.row.id for claim in claims]
    assert [row.id for row in (*first.items, *second.items)] == ids[::-1]
    assert (one, rest) == (ids[:1], ids[1:])
    row = await store.outbox_row(ids[0])
    assert row is not None
    assert (row.attempts, row.error) == (0, "")
    assert await store.outbox_row(99) is None
    assert (await store.outbox("", 9, state="dead", destination="")).items == []


async def test_an_answer_is_the_first_one_unless_it_was_none(store: SqliteStore) -> None:
    none, first = FirstAnswer("k", b"", 0, [], b""), FirstAnswer("k", b"d", 200, [], b"1")
    later = FirstAnswer("k", b"d", 500, [], b"2")
    await store.keep_answer(none, NOW)
    await store.keep_answer(first, NOW)
    await store.keep_answer(later, NOW)
    await store.drop_answer("k")
    await store.keep_answer(msgspec.structs.replace(none, key="gone"), NOW)
    await store.drop_answer("gone")
    await store.keep_answer(msgspec.structs.replace(later, key="failed"), NOW)
    await store.commit(Commit(1, NOW, answered={"k": "wamid.1", "failed": "wamid.2", "new": "wamid.3"}))

    assert await store.first_answer("k") == first
    assert await store.first_answer("gone") is None
    told = [await store.first_answer(key) for key in ("failed", "new")]
    assert [(one.status, one.digest, one.body) for one in told if one] == [
        (200, b"d", b'{"messaging_product":"whatsapp","messages":[{"id":"wamid.2"}]}'),
        (200, b"", b'{"messaging_product":"whatsapp","messages":[{"id":"wamid.3"}]}'),
    ]


async def test_an_alert_that_must_still_be_told_stands_with_its_pause(store: SqliteStore) -> None:
    over = records.pause(1, released_at=NOW)
    row = Enqueue("am", "alertmanager", "a1")
    await store.commit(Commit(1, NOW, changes=[over, records.alert(1, pause_ids=("p1", "gone"))], outbox=[row]))

    later = await store.standing(NOW + 86_400)

    assert list(later.alerts) == ["a1"]
    assert list(later.pauses) == ["p1"]


async def test_an_incident_is_found_with_its_pauses_alerts_notes_and_volume(store: SqliteStore) -> None:
    incident, note = records.incident(1), records.note(0)
    pauses = [records.pause(1, incident_id="i1"), records.pause(2)]
    alerts = [records.alert(number, pause_ids=(f"p{number}",)) for number in (1, 2)]
    sent = [records.message(number, started_at=NOW) for number in (1, 2)]
    await store.commit(Commit(1, NOW, sent, changes=[incident, *pauses, *alerts, note]))

    db = sqlite3.connect(store.path)
    try:
        assert queries.incident(db, "i1") == incident == await store.incident("i1")
        assert queries.incident(db, "i2") is None
        assert [one.id for one in queries.pauses_of(db, "i1")] == ["p1"]
        assert [one.pause_ids for one in queries.alerts_of(db, frozenset({"p1"}), NOW, NOW + 9)] == [("p1",)]
        assert queries.notes(db, NOW, NOW) == [note]
        assert queries.volume(db, "100", NOW, NOW + 1) == {"sent": 2}
        assert queries.volume(db, "101", NOW, NOW + 1) == queries.volume(db, "100", NOW - 1, NOW) == {}
    finally:
        db.close()


async def test_what_cannot_be_read_is_unavailable(store: SqliteStore) -> None:
    await store._read(lambda db: db.close())

    with pytest.raises(StoreUnavailableError, match="closed database"):
        await store.cursor()
