"""Events over HTTP: checked one by one, stored once, never without bound."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from models.profile.interaction_types import DEFAULT_TYPES
from serving.ingest import service, writer
from serving.ingest.checking import Clock, check
from serving.ingest.connection import Away, EventConnection
from serving.ingest.shapes import Outcomes, RejectedPage, ReplayOutcome
from serving.ingest.spool import Spool
from storage.loading.log import Log
from storage.loading.values.validation import validate
from tests.conftest import TEMPLATE, url_of
from tests.serving.ingest_app import application, event, ingest_on

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def url(postgres_url: str, _server: psycopg.Connection) -> Iterator[str]:
    """A database that the tests of this file share; each uses ids of its own."""
    _server.execute(f"CREATE DATABASE ingest TEMPLATE {TEMPLATE}")
    yield url_of(postgres_url, "ingest")
    _server.execute("DROP DATABASE ingest WITH (FORCE)")


@pytest.fixture(scope="module")
def told() -> list[Any]:
    """What the hooks were told."""
    return []


@pytest.fixture(scope="module")
def api(
    url: str, told: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    async def signalled(connection: Any, user_ids: Any) -> None:
        await connection.execute("SELECT 1")
        told.append(("signalled", set(user_ids)))

    def complete(events: list[Any]) -> None:
        for one in events:
            if one["metadata"] and one["metadata"].get("feed_id") == "known":
                one["metadata"].setdefault("variant", "champion")

    with ingest_on(
        lambda: url,
        tmp_path_factory.mktemp("spool"),
        committed=lambda users: told.append(("committed", users)),
        complete=complete,
        signalled=signalled,
    ) as client:
        yield client


@pytest.fixture
def conn(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def send(api: TestClient, *events: Any) -> dict[str, Any]:
    answer = api.post("interactions", json={"interactions": list(events)})
    assert answer.status_code == 202, answer.text
    return Outcomes.model_validate_json(answer.content).model_dump()


def outcomes(body: dict[str, Any]) -> list[str]:
    return [one["outcome"] for one in body["results"]]


def stored(conn: psycopg.Connection, *events: dict[str, Any]) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT event_id::text, user_id, item_id, type, occurred_at, metadata"
        " FROM feed.interactions WHERE event_id = ANY(%s::uuid[]) ORDER BY event_id",
        ([one["event_id"] for one in events],),
    ).fetchall()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()


def test_events_are_stored_as_sent_and_a_retry_is_all_duplicates(
    api: TestClient, conn: psycopg.Connection, told: list[Any]
) -> None:
    text = "o'brien \"\\\t\n\u2028😀"
    events = [
        event(user_id=text, item_id=text, metadata={"q": text, "n": [1.5, None]}),
        event(user_id=None, type="search", item_id=...),
        event(event_id=uuid4().hex.upper(), user_id=..., type="impression", metadata=None),
    ]
    told.clear()
    body = send(api, *events)
    assert (body["accepted"], body["duplicates"], body["rejected"]) == (3, 0, 0)
    assert [one["event_id"] for one in body["results"]] == [one["event_id"] for one in events]
    rows = {UUID(row[0]): row[1:] for row in stored(conn, *events)}
    for one in events:
        assert rows[UUID(one["event_id"])] == (
            one.get("user_id"),
            one.get("item_id"),
            one["type"],
            datetime.fromisoformat(one["occurred_at"]),
            one["metadata"],
        )
    assert told == [("signalled", {text}), ("committed", {text})]
    again = send(api, *events)
    assert outcomes(again) == ["duplicate"] * 3
    assert len(stored(conn, *events)) == 3


def test_a_bad_entry_is_rejected_alone_with_its_field_and_kept(
    api: TestClient, conn: psycopg.Connection
) -> None:
    mark = uuid4().hex
    bad: list[tuple[Any, str | None]] = [
        (event(event_id="x"), "event_id"),
        (event(event_id=...), "event_id"),
        (event(event_id=5), "event_id"),
        (event(type="teleport"), "type"),
        (event(type=["click"]), "type"),
        (event(item_id=...), "item_id"),
        (event(item_id="", user_id="u"), "item_id"),
        (event(user_id="é" * 128), "user_id"),
        (event(user_id="a\0b"), "user_id"),
        (event(user_id=7), "user_id"),
        (event(occurred_at="yesterday"), "occurred_at"),
        (event(occurred_at="2026-02-30T00:00:00Z"), "occurred_at"),
        (event(occurred_at="2026-02-01T00:00:00"), "occurred_at"),
        (event(occurred_at=1_767_225_600), "occurred_at"),
        (event(metadata=[1]), "metadata"),
        (event(metadata={"a": "\0"}), "metadata"),
        (event(metadata={"a": "x" * 16_384}), "metadata"),
        (event(itemid="i"), "itemid"),
        ([], None),
        (None, None),
    ]
    good = event(metadata={"mark": mark, "a": "x" * 16_000})
    body = send(api, good, *(one for one, _ in bad))
    assert outcomes(body) == ["accepted"] + ["rejected"] * len(bad)
    assert [one["field"] for one in body["results"][1:]] == [name for _, name in bad]
    assert all(one["reason"] for one in body["results"][1:])
    assert len(stored(conn, good)) == 1
    kept = conn.execute(
        "SELECT raw, reason FROM feed.interactions_rejected WHERE source = 'api' AND entity ="
        " 'interactions'"
    ).fetchall()
    raws = {raw for raw, _ in kept}
    assert {orjson.dumps(one).decode() for one, _ in bad} <= raws
    before = len(kept)
    send(api, *(one for one, _ in bad))  # a retry is not kept twice
    count = conn.execute("SELECT count(*) FROM feed.interactions_rejected").fetchone()
    assert count == (before,)


def test_half_a_surrogate_pair_spoils_its_own_entry_alone(api: TestClient) -> None:
    good, bad, worse = event(), event(metadata={"q": "MARK"}), event(user_id="MARK")
    body = json.dumps([good, bad, worse]).replace("MARK", "\\ud83d")
    answer = api.post("interactions", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 202, answer.text
    assert outcomes(answer.json()) == ["accepted", "rejected", "rejected"]
    assert [one.get("field") for one in answer.json()["results"]] == [None, "metadata", "user_id"]


def test_an_entry_that_nests_without_end_is_refused_alone(api: TestClient) -> None:
    for depth in (300, 1_000):
        deep = '{"a":' * depth + "1" + "}" * depth
        bad = [deep, f'{{"type": {deep}}}', json.dumps(event(metadata={"q": "MARK"}))]
        body = f"[{json.dumps(event())}, {', '.join(bad)}]".replace('"MARK"', deep)
        answer = api.post("interactions", content=body, headers={"content-type": "text/plain"})
        assert answer.status_code in (202, 400), answer.text  # deeper than JSON is read at all
        if answer.status_code == 202:
            assert outcomes(answer.json()) == ["accepted"] + ["rejected"] * 3
        one = api.post("feed/interactions/i1", content=deep, headers={"content-type": "text/plain"})
        assert one.json().get("rejected") == 1 or one.status_code == 400


@pytest.mark.parametrize(
    "kind", ["", "application/cloudevents+json; charset=utf-8", "application/vnd.shop.v2+JSON"]
)
def test_a_beacon_is_read_without_a_type_or_with_one_of_json(api: TestClient, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = api.post("interactions", content=json.dumps([event()]), headers=headers)
    assert "content-type" not in answer.request.headers or kind
    assert (answer.status_code, outcomes(answer.json())) == (202, ["accepted"])
    one = json.dumps({"type": "view"})
    assert api.post("feed/interactions/i1", content=one, headers=headers).status_code == 202


def test_a_time_that_cannot_be_believed_is_flagged_and_the_retry_known(
    api: TestClient, conn: psycopg.Connection
) -> None:
    claims = {
        "future": (NOW + timedelta(hours=1)).isoformat(),
        "too_old": "1999-05-01T00:00:00Z",
        "missing": None,
    }
    events = {why: event(occurred_at=claim) for why, claim in claims.items()}
    before = datetime.now(UTC)
    assert outcomes(send(api, *events.values())) == ["accepted"] * 3
    for _ in range(2):
        assert outcomes(send(api, *events.values())) == ["duplicate"] * 3
    # The client's clock may be set right between two tries, and a day may have passed.
    mended = {**events["future"], "occurred_at": datetime.now(UTC).isoformat()}
    assert outcomes(send(api, mended)) == ["duplicate"]
    for why, one in events.items():
        ((*_, occurred_at, metadata),) = stored(conn, one)
        assert metadata == {"position": 1, "clock": {"claimed": claims[why], "reason": why}}
        assert before <= occurred_at <= datetime.now(UTC)
    usable = event(occurred_at=(NOW - timedelta(days=399)).isoformat())
    assert outcomes(send(api, usable)) == ["accepted"]
    assert outcomes(send(api, {**usable, "occurred_at": claims["too_old"]})) == ["duplicate"]


def test_two_of_one_id_in_a_batch(api: TestClient, conn: psycopg.Connection) -> None:
    one = event()
    other = {**one, "occurred_at": (NOW - timedelta(days=1)).isoformat()}
    timeless = event(occurred_at=...)
    body = send(api, {**one, "type": "?"}, one, other, one, timeless, timeless)
    assert outcomes(body) == ["rejected", "accepted", "rejected", "duplicate", "accepted",
                              "duplicate"]  # fmt: skip
    assert body["results"][2]["field"] == "event_id"
    assert len(stored(conn, one, timeless)) == 2


@pytest.mark.parametrize(
    "other",
    [{"user_id": "u2"}, {"user_id": None}, {"item_id": "i2"}, {"type": "view"},
     {"occurred_at": (NOW - timedelta(days=40)).isoformat()}],
)  # fmt: skip
def test_one_id_for_another_event(
    api: TestClient, conn: psycopg.Connection, other: dict[str, Any]
) -> None:
    """Refused and kept, also when it is taken in again; only what is the same is a duplicate."""
    one = event()
    send(api, one)
    body = send(api, {**one, **other}, {**one, "metadata": {"position": 2}})
    assert outcomes(body) == ["rejected", "duplicate"]
    (name,) = other
    result = body["results"][0]
    assert (result["field"], f"another {name}" in result["reason"]) == ("event_id", True)
    (row,) = api.get("admin/rejected", params={"limit": 1}).json()["rows"]
    assert row["reason"] == f"event_id: {result['reason']}"
    assert json.loads(row["raw"]) == {**one, **other}
    assert problem(api.post(f"admin/rejected/{row['id']}/replay"), 422)["errors"]
    assert api.get("admin/rejected", params={"limit": 1}).json()["rows"] == [row]
    assert len(stored(conn, one)) == 1
    mended = {**one, **other, "event_id": str(uuid4())}
    replayed = api.post(f"admin/rejected/{row['id']}/replay", json=mended)
    assert outcomes(replayed.json()) == ["accepted"]


@pytest.mark.parametrize(
    "claims",
    [
        [None] * 3,
        [NOW.isoformat()] * 3,
        [(NOW + timedelta(days=n)).isoformat() for n in (3, 2, 1)],
        ["1970-01-01T00:00:00Z", (NOW - timedelta(days=1)).isoformat(), None],
        [(NOW + timedelta(days=365)).isoformat(), NOW.isoformat(), NOW.isoformat()],
    ],
)
def test_the_order_of_a_batch_survives_the_clock(
    api: TestClient, conn: psycopg.Connection, claims: list[str | None]
) -> None:
    """Events of others between them change nothing; nor does a retry of a part."""
    user, types = uuid4().hex, ["apply", "unapply", "apply"]
    events = [
        event(user_id=user, type=type, occurred_at=claim)
        for type, claim in zip(types, claims, strict=True)
    ]
    assert outcomes(send(api, events[0], event(), *events[1:])) == ["accepted"] * 4
    assert outcomes(send(api, events[2], events[1])) == ["duplicate"] * 2
    found = conn.execute(
        "SELECT event_id::text FROM feed.interactions WHERE user_id = %s ORDER BY occurred_at",
        (user,),
    ).fetchall()
    assert found == [(one["event_id"],) for one in events]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_json_cannot_hold_spoils_its_own_entry_alone(
    api: TestClient, conn: psycopg.Connection, number: str
) -> None:
    good, bad = event(metadata={"seconds": None}), event(metadata={"deep": [1, {"seconds": 7.25}]})
    content = json.dumps([bad, good]).replace("7.25", number)
    answer = api.post("interactions", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, outcomes(answer.json())) == (202, ["rejected", "accepted"])
    result = answer.json()["results"][0]
    assert (result["field"], result["reason"][:15]) == ("metadata", "deep.1.seconds:")
    (row,) = api.get("admin/rejected", params={"limit": 1}).json()["rows"]
    assert json.loads(row["raw"])["event_id"] == bad["event_id"]
    assert "null" not in row["raw"]
    assert "seconds" in problem(api.post(f"admin/rejected/{row['id']}/replay"), 422)["detail"]


def test_one_event_of_an_item(api: TestClient, conn: psycopg.Connection) -> None:
    one = event(item_id=..., user_id=...)
    path = "feed/interactions/a%2Fb?user_id=ann"
    answer = api.post(path, json=one)
    assert (answer.status_code, outcomes(answer.json())) == (202, ["accepted"])
    assert stored(conn, one)[0][1:3] == ("ann", "a/b")
    assert outcomes(api.post(path, json=one).json()) == ["duplicate"]
    bare = api.post("feed/interactions/i9", json={"type": "view"}).json()
    assert outcomes(bare) == ["accepted"]
    assert stored(conn, bare["results"][0])[0][1:3] == (None, "i9")
    assert problem(api.post(path, json={**one, "user_id": "eve"}), 422)["errors"]
    wrong: list[Any] = [0, False, "", [], {}]
    for broken in wrong:
        told = api.post(path, json={"type": "view", "event_id": broken}).json()
        assert outcomes(told) == ["rejected"]


def test_a_body_of_nothing_but_lists_is_too_much(api: TestClient) -> None:
    """It would hold up every other call of the worker for seconds."""
    body = json.dumps([{"type": "bad", "m": [[]] * 980} for _ in range(1000)])
    answer = api.post("interactions", content=body, headers={"Content-Type": "application/json"})
    assert "100,000 objects and lists" in problem(answer, 413)["detail"]


def test_what_is_no_batch_is_refused_as_a_whole(api: TestClient) -> None:
    headers = {"content-type": "application/json"}
    assert problem(api.post("interactions", content=b"{", headers=headers), 400)
    deep = b"[" * 100_000
    assert problem(api.post("interactions", content=deep, headers=headers), 400)
    assert problem(api.post("interactions", data={"a": "b"}), 415)
    large = b'["' + b"x" * (4 * 2**20) + b'"]'
    assert problem(api.post("interactions", content=large, headers=headers), 413)
    assert problem(
        api.post("interactions", content=iter([large[:1000], large[1000:]]), headers=headers), 413
    )
    many: list[Any] = [event()] * 1001
    wrongs: list[Any] = [[], {}, 5, {"interactions": []}, many, {"interactions": [], "x": 1}]
    for wrong in wrongs:
        assert problem(api.post("interactions", json=wrong), 422)["errors"]


def test_completed_before_it_is_written(api: TestClient, conn: psycopg.Connection) -> None:
    lacks = event(metadata={"feed_id": "known"})
    has = event(metadata={"feed_id": "known", "variant": "time"})
    send(api, lacks, has)
    variants = {row[0]: row[5]["variant"] for row in stored(conn, lacks, has)}
    assert variants == {lacks["event_id"]: "champion", has["event_id"]: "time"}


def test_rejected_events_are_listed_corrected_and_replayed(
    api: TestClient, conn: psycopg.Connection, told: list[Any]
) -> None:
    mark = uuid4().hex
    bad = [event(type=f"{mark}{n}", user_id="mended") for n in range(3)]
    send(api, *bad)
    page = RejectedPage.model_validate_json(api.get("admin/rejected?limit=2").content)
    assert [json.loads(row.raw) for row in page.rows] == [bad[2], bad[1]]
    assert page.next_after == page.rows[1].id
    older = api.get(f"admin/rejected?limit=1&after={page.next_after}&entity=interactions").json()
    ids = [older["rows"][0]["id"], page.rows[1].id, page.rows[0].id]
    assert api.get("admin/rejected?entity=owners").json()["rows"] == []

    assert mark in problem(api.post(f"admin/rejected/{ids[0]}/replay"), 422)["detail"]
    told.clear()
    fixed = {**bad[0], "type": "click"}
    done = api.post(f"admin/rejected/{ids[0]}/replay", json=fixed)
    assert ReplayOutcome.model_validate_json(done.content).accepted == 1
    assert told == [("committed", {"mended"})]
    assert len(stored(conn, fixed)) == 1
    assert problem(api.post(f"admin/rejected/{ids[0]}/replay", json=fixed), 404)
    again = api.post(f"admin/rejected/{ids[1]}/replay", json={**fixed, "metadata": None})
    assert again.json()["duplicates"] == 1

    conn.execute(
        "UPDATE feed.interactions_rejected SET raw = replace(raw, %s, 'view') WHERE id = %s",
        (f"{mark}2", ids[2]),
    )
    many = api.post("admin/rejected:replay", json={"reason": mark}).json()
    assert [(one["id"], one["outcome"]) for one in many["results"]] == [(ids[2], "accepted")]
    assert many["next_after"] is None
    assert api.post("admin/rejected:replay", json={"ids": ids}).json()["results"] == []
    assert problem(api.post("admin/rejected:replay", json={"ids": "all"}), 422)["errors"]


def test_what_postgres_itself_refuses_is_found_by_halves(
    api: TestClient, conn: psycopg.Connection
) -> None:
    poison = uuid4().hex
    conn.execute(
        "ALTER TABLE feed.interactions ADD CONSTRAINT no_poison"
        f" CHECK (user_id IS DISTINCT FROM '{poison}') NOT VALID"
    )
    try:
        events = [event() for _ in range(9)]
        events[4]["user_id"] = poison
        body = send(api, *events, event(type="?"))
    finally:
        conn.execute("ALTER TABLE feed.interactions DROP CONSTRAINT no_poison")
    assert outcomes(body) == ["accepted"] * 4 + ["rejected"] + ["accepted"] * 4 + ["rejected"]
    assert "no_poison" in body["results"][4]["reason"]
    assert len(stored(conn, *events)) == 8
    kept = conn.execute(
        "SELECT raw FROM feed.interactions_rejected WHERE reason LIKE '%%no_poison%%'"
    ).fetchall()
    assert [json.loads(raw)["event_id"] for (raw,) in kept] == [events[4]["event_id"]]


def test_concurrent_requests_share_commits_and_too_much_is_turned_away(
    url: str, tmp_path: Path, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_ROWS", 60)
    commits, arrived = 0, asyncio.Event()
    insert = EventConnection.store

    async def counted(self: Any, *given: Any) -> Any:
        nonlocal commits
        commits += 1
        await arrived.wait()
        return await insert(self, *given)

    monkeypatch.setattr(EventConnection, "store", counted)
    app = application(lambda: url, tmp_path)
    events = [event() for _ in range(70)]

    async def all_at_once() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://feed/api/v1/") as client,
        ):
            sent = [asyncio.create_task(client.post("interactions", json=[e])) for e in events]
            while sum(one.done() for one in sent) < 10:  # those that are turned away
                await asyncio.sleep(0.01)
            sent[0].cancel()  # a client who leaves changes nothing, for itself or for others
            arrived.set()
            answers = await asyncio.gather(*sent[1:])
            for size in (writer.MAX_BYTES, -writer.MAX_BYTES):
                app.state.ingest._writer._bytes += size
                if size > 0:
                    answers.append(await client.post("interactions", json=[event()]))
            return answers

    *answers, large = asyncio.run(all_at_once())
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {202: 59, 429: 10}
    assert commits <= 3
    assert large.status_code == 429
    turned_away = {n for n, answer in enumerate(answers, 1) if answer.status_code == 429}
    assert all(a.headers["retry-after"] == "1" for a in answers if a.status_code == 429)
    kept = [one for n, one in enumerate(events) if n not in turned_away]
    assert len(stored(conn, *events)) == len(stored(conn, *kept)) == 60


def test_what_is_too_much_for_a_call_is_written_in_parts(
    url: str, tmp_path: Path, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Straight, or by way of the spool; what comes after is held up by neither."""
    monkeypatch.setattr(writer, "GROUP_BYTES", 2_000)
    monkeypatch.setattr(writer, "AGAIN_SECONDS", 0.0)
    insert = EventConnection.store

    async def small(self: Any, given: Any, refused: Any) -> Any:
        if len(given) + len(refused) > most:
            raise Away("too much")
        return await insert(self, given, refused)

    monkeypatch.setattr(EventConnection, "store", small)
    for most in (1_000, 3):
        app = application(lambda: url, tmp_path)
        good = [event() for _ in range(20)]
        bad = [event(type=f"no such {most} {n}") for n in range(30)]
        with TestClient(app, base_url="http://feed/api/v1/") as client:
            body = send(client, *bad[:15], *good, *bad[15:])
            assert (body["accepted"], body["rejected"]) == (20, 30)
            last = event()
            assert send(client, last)["accepted"] == 1
            spool = app.state.ingest._writer._spool
            while spool.behind:
                time.sleep(0.01)
        assert len(stored(conn, *good, last)) == 21
        kept = conn.execute(
            "SELECT count(*) FROM feed.interactions_rejected WHERE raw LIKE %s",
            (f"%no such {most} %",),
        ).fetchone()
        assert kept == (30,)


def test_a_worker_stops_in_the_moment_in_which_events_go_to_its_spool(
    url: str, tmp_path: Path
) -> None:
    async def stopped() -> None:
        begun = writer.Writer(lambda: url, Spool(tmp_path))
        await begun.start()
        while not begun._spooled._waiters:
            await asyncio.sleep(0.001)
        begun._spooled.set()
        async with asyncio.timeout(20):
            await begun.close()

    asyncio.run(stopped())


def test_only_what_has_arrived_takes_room(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_BYTES", 10_000)
    app = application(lambda: url, tmp_path)

    async def slow_and_quick() -> tuple[list[int], list[int]]:
        more = asyncio.Event()

        async def body(first: int) -> AsyncIterator[bytes]:
            yield b" " * first
            await more.wait()
            yield json.dumps([event()]).encode()

        transport = httpx.ASGITransport(app)
        kind = {"Content-Type": "application/json"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://feed/api/v1/") as client,
        ):

            def slowly(first: int, **headers: str) -> asyncio.Task[httpx.Response]:
                sent = client.post("interactions", content=body(first), headers=kind | headers)
                return asyncio.create_task(sent)

            async def held(size: int) -> None:
                while app.state.ingest._writer._bytes < size:
                    await asyncio.sleep(0.01)

            slow = [slowly(1) for _ in range(20)]
            slow += [slowly(1, **{"Content-Length": str(4 * 2**20)}) for _ in range(20)]
            await held(40)
            quick = [(await client.post("interactions", json=[event()])).status_code]
            slow.append(slowly(9_900))
            await held(9_940)
            quick.append((await client.post("interactions", json=[event()])).status_code)
            more.set()
            answers = [answer.status_code for answer in await asyncio.gather(*slow)]
            assert app.state.ingest._writer._bytes == 0
            return answers, quick

    answers, quick = asyncio.run(slow_and_quick())
    assert quick == [202, 429]
    assert set(answers) <= {202, 429}  # what is left of the bytes is theirs in turn


NUL = {"a": "\0"}
LATELY = datetime.now(UTC) - timedelta(days=30)
ids = st.sampled_from(["a", "é" * 127, "é" * 128, "", "\0", "😀", 5, None])
entries = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from([str(UUID(int=n)) for n in range(8)] + ["x", None]),
        "user_id": ids,
        "item_id": ids,
        "type": st.sampled_from([*DEFAULT_TYPES.names, "?", ""]),
        "occurred_at": st.sampled_from(
            [
                f"{LATELY:%Y-%m-%dT%H:%M:%S}.678Z",
                f"{LATELY:%Y-%m-%dt%H:%M:%S}+02:00",
                "2026-13-01T00:00:00Z",
                "?",
            ]
        ),
        "metadata": st.sampled_from([None, {}, NUL, {"b": [1, "é"]}, "x"]),
    }
)


@hypothesis_settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.lists(entries, min_size=1, max_size=12), min_size=1, max_size=4))
def test_any_batches_against_a_plain_oracle(
    api: TestClient, conn: psycopg.Connection, batches: list[list[dict[str, Any]]]
) -> None:
    conn.execute("TRUNCATE feed.interactions")
    known: dict[str, dict[str, Any]] = {}
    for batch in batches:
        expected = []
        for one in batch:
            first = known.get(one["event_id"])
            if not oracle(one):
                expected.append("rejected")
            elif first is None:
                expected.append("accepted")
                known[one["event_id"]] = one
            elif identity(one) == identity(first):
                expected.append("duplicate")
            else:
                expected.append("rejected")
        assert outcomes(send(api, *batch)) == expected
    rows = conn.execute(
        "SELECT event_id::text, user_id, item_id, type, metadata FROM feed.interactions"
    ).fetchall()
    columns = ("event_id", "user_id", "item_id", "type", "metadata")
    wanted = [tuple(one[name] for name in columns) for one in known.values()]
    assert sorted(map(repr, rows)) == sorted(map(repr, wanted))


def identity(one: dict[str, Any]) -> tuple[Any, ...]:
    time = datetime.fromisoformat(one["occurred_at"].upper())
    return one["user_id"], one["item_id"], one["type"], time


def oracle(one: dict[str, Any]) -> bool:
    return (
        one["event_id"] not in ("x", None)
        and one["user_id"] in ("a", "é" * 127, "😀", None)
        and one["item_id"] in ("a", "é" * 127, "😀", None)
        and (one["item_id"] is not None or one["type"] in ("search", "filter"))
        and one["type"] in DEFAULT_TYPES.names
        and one["occurred_at"] not in ("2026-13-01T00:00:00Z", "?")
        and one["metadata"] in (None, {}, {"b": [1, "é"]})
    )


@hypothesis_settings(max_examples=40)
@given(batch=st.lists(entries, min_size=1, max_size=20))
def test_limits_are_those_of_logs(batch: list[dict[str, Any]]) -> None:
    """What a log may hold is taken, and nothing else, but that events need an id of their own.
    Metadata that cannot be stored costs an event; of a log's row it is left out."""
    batch = [{**one, "event_id": str(uuid4())} for one in batch if one["user_id"] != 5]
    batch = [one for one in batch if one["item_id"] != 5 and one["metadata"] not in ("x", NUL)]
    if not batch:
        return
    frame = pl.DataFrame(
        [
            {**one, "metadata": None if one["metadata"] is None else json.dumps(one["metadata"])}
            for one in batch
        ],
        schema=dict.fromkeys(batch[0], pl.String),
    )
    log = Log(interactions=frame)
    refused = validate(log, "interactions").rejected["row_number"].to_list()
    checked = asyncio.run(check(batch, Clock.at(NOW, service.RETENTION)))
    assert sorted(place + 1 for place in checked.refusals) == refused
