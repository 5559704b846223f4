"""Every call, on the real service over real HTTP."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator

import pytest

from feedwright_client import AsyncFeedwright, Feedwright, FeedwrightError
from feedwright_client.retries import pause

ODD = "a/b ?#é\n"


@pytest.fixture
def client(service: str) -> Iterator[Feedwright]:
    with Feedwright(service, timeout=60) as made:
        yield made


def test_pages_of_a_feed_fit_together(client: Feedwright) -> None:
    pages = [page for page, _ in zip(client.pages("u0007", limit=7), range(3), strict=False)]
    ids = [item.item_id for page in pages for item in page.items]
    assert len(ids) == len(set(ids)) == 21
    assert {page.feed_id for page in pages} == {pages[0].feed_id}
    first = pages[0]
    assert first.is_from_server
    assert first.metadata_of(first.items[0])["position"] == 1
    weighed = client.feed("u0007", weights={"tags": 2, "recency": 0.5}, exclude_seen=True)
    assert weighed.variant == "heuristic"


def test_other_lists(client: Feedwright) -> None:
    page = client.feed("u0007", limit=5)
    ids = [item.item_id for item in page.items]
    assert {one.item_id for one in client.rank(ids, user_id="u0007").items} <= set(ids)
    assert client.rank(["nothing"]).excluded == {"nothing": "unknown_item"}
    assert client.nearby(52.5, 13.4, radius_km=20_000, limit=3)[0].distance_km >= 0
    assert isinstance(client.similar(ids[0], limit=3), list)
    assert isinstance(client.trending(limit=3, hours=24), list)
    (one,) = client.recommend(["u0007"], limit=4)
    assert (one.user_id, len(one.items)) == ("u0007", 4)


def test_the_catalogue(client: Feedwright) -> None:
    assert client.put_item(ODD, title="One", tags=["x"])["id"] == ODD
    assert client.patch_item(ODD, title="Two")["title"] == "Two"
    assert (client.get_item(ODD) or {})["tags"] == ["x"]
    assert client.delete_item(ODD) is True
    assert client.delete_item(ODD) is False
    assert client.get_item(ODD) is None
    client.put_owner("o", average_rating=4)
    report = client.sync_items(
        {"id": f"s{n}", "lat": 91 if n == 1_200 else 1, "lon": 1} for n in range(2_500)
    )
    assert (report.created, report.updated) == (2_499, 0)
    assert [one.entry["id"] for one in report.rejected] == ["s1200"]
    assert "lat" in report.rejected[0].reasons[0]


def test_a_user_comes_and_goes(client: Feedwright) -> None:
    client.put_user("anna", tags=["x"])
    assert client.preferences("anna")["blocked_tags"] == []
    assert client.set_preferences("anna", blocked_tags=["y"])["blocked_tags"] == ["y"]
    assert client.set_preferences("anna", blocked_tags=None)["blocked_tags"] == []
    assert (client.export_user("anna") or {})["user"]["tags"] == ["x"]
    assert client.erase_user("anna") is True
    assert client.export_user("anna") is None
    assert client.erase_user("anna") is False


def test_workers_forget_an_erased_user_at_once(client: Feedwright) -> None:
    assert client.feed("u0009").fallback_reason is None
    client.put_user("u0009")
    assert client.erase_user("u0009")
    deadline = time.monotonic() + 60
    while client.feed("u0009").fallback_reason != "unknown_user":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_mistakes_are_named(client: Feedwright) -> None:
    with pytest.raises(FeedwrightError) as told:
        client.feed("u0007", limit=1_000, fallback=["i1"])
    assert told.value.status == 422
    assert told.value.errors[0]["field"] == "limit"
    assert told.value.request_id
    assert not told.value.is_temporary


def test_a_feed_falls_back_to_ones_own_items() -> None:
    with Feedwright("http://127.0.0.1:9", timeout=0.5) as client:
        start = time.monotonic()
        page = client.feed("u", limit=2, fallback=["i1", "i2", "i3"])
        assert time.monotonic() - start < 20
        assert [item.item_id for item in page.items] == ["i1", "i2"]
        assert not page.is_from_server
        with pytest.raises(FeedwrightError, match="does not answer"):
            client.feed("u")


def test_the_async_client_does_the_same(service: str) -> None:
    async def work() -> None:
        async with AsyncFeedwright(service, timeout=60) as client:
            pages = [page async for page in client.pages("u0007", limit=100)]
            assert sum(len(page.items) for page in pages) > 100
            report = await client.sync_users({"id": f"v{n}"} for n in range(1_001))
            assert report.created == 1_001
            assert await client.erase_user("v0")
            assert await client.get_user("v0") is None
            with pytest.raises(FeedwrightError):
                await client.feed(limit=0)

    asyncio.run(work())


def test_both_clients_have_the_same_calls() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert names(Feedwright) == names(AsyncFeedwright)
    for name in ("feed", "nearby", "put_item", "track"):
        sync, other = (getattr(one, name) for one in (Feedwright, AsyncFeedwright))
        assert inspect.signature(sync) == inspect.signature(other)
        assert inspect.getdoc(sync) == inspect.getdoc(other)
    with Feedwright("http://127.0.0.1:9") as client, pytest.raises(TypeError, match="exclude_sen"):
        client.feed("u0007", exclude_sen=True)  # type: ignore[call-arg]


def test_pauses_grow_and_do_not_coincide() -> None:
    for attempt, most in ((0, 0.1), (3, 0.8), (50, 30)):
        found = {pause(attempt, None) for _ in range(50)}
        assert most / 2 <= min(found) < max(found) <= most
