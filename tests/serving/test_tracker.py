"""The tracker in a real browser, from the files that ship, on the real ingest and Postgres."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import playwright
import psycopg
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.testclient import TestClient

from serving.access.cors import cors
from serving.ingest import Ingest, tracking
from serving.pages import tracker
from storage.postgres.database import connect
from tests.browser import PATIENCE, running_browser
from tests.conftest import TEMPLATE, url_of

SOURCES = Path(tracker.__file__).parents[1] / "tracker"
MOST_GZIPPED = 4096
ITEMS = 100
PAGE = """<!DOCTYPE html>
<html lang="en">
<title>A shop</title>
<link rel="icon" href="data:,">
<style>li { height: 180px; margin: 10px; }</style>
<ul id="list" data-fw-feed="f1" data-fw-model="7" data-fw-variant="champion"></ul>
<div id="end"></div>
<script type="module">
  const asked = JSON.parse(new URLSearchParams(location.search).get("config"));
  const { feedwright } = await import(`${asked.url}/tracker/feedwright.js`);
  const list = document.getElementById("list");
  let count = 0;
  const more = () => {
    for (const last = Math.min(count + 10, asked.items ?? 0); count < last; count++) {
      const card = document.createElement("li");
      card.dataset.fwItem = `i${count}`;
      card.dataset.fwPosition = count + 1;
      card.innerHTML = `<a href="#i${count}">Item ${count}</a>
        <button data-fw-action="save">+</button>`;
      list.append(card);
    }
  };
  const end = document.getElementById("end");
  const sight = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    more();
    sight.unobserve(end);
    if (count < asked.items) sight.observe(end);
  }, { rootMargin: "300px" });
  more();
  sight.observe(end);
  window.fw = feedwright(asked);
  window.fw.observe();
  document.body.dataset.ready = "";
</script>
"""

# To the end and some of the way back. What can be seen at a stop is told before the next one: the
# browser looks when it draws, and timers end in their order.
SCROLL = """async (count) => {
  const last = () => document.querySelector(`li:nth-child(${count})`)?.getBoundingClientRect();
  const look = async (step) => {
    scrollBy(0, step);
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done, 120));
  };
  await look(0);
  while (!(last()?.bottom <= innerHeight)) await look(1400);
  for (let step = 0; step < 4; step++) await look(-1400);
}"""


@dataclass
class Shop:
    """A page of items and the server that takes its events.

    Attributes:
        url: where both are; ``elsewhere`` is the same server as another origin.
        database: address of the events.
    """

    url: str
    elsewhere: str
    database: str

    def events(self, user_id: str) -> list[tuple[str, str | None]]:
        """Type and item of all events of a user, in order."""
        with connect(self.database) as connection:
            return connection.execute(
                "SELECT type, item_id FROM feed.interactions WHERE user_id = %s"
                " ORDER BY occurred_at",
                [user_id],
            ).fetchall()

    def metadata(self, user_id: str, kind: str) -> list[dict[str, Any]]:
        with connect(self.database) as connection:
            found = connection.execute(
                "SELECT metadata FROM feed.interactions WHERE user_id = %s AND type = %s"
                " ORDER BY occurred_at",
                [user_id, kind],
            )
            return [metadata for (metadata,) in found]


@pytest.fixture(scope="module")
def shop(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    name = f"tracker_{uuid4().hex}"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    database = url_of(postgres_url, name)
    ingest = Ingest(lambda: database, tmp_path_factory.mktemp("spool"))

    async def page(request: HttpRequest) -> Response:
        return HTMLResponse(PAGE)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        await ingest.start()
        yield
        await ingest.close()

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    shop = Shop(f"http://127.0.0.1:{port}", f"http://localhost:{port}", database)
    calls = tracking.endpoints.routes(tracking.IngestCalls(ingest))
    app = Starlette(
        routes=[HttpRoute("/shop", page), *calls, *tracker.endpoints.routes()],
        middleware=cors([shop.elsewhere]),
        lifespan=lifespan,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield shop
    finally:
        server.should_exit = True
        thread.join(20)
        _server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def wait_for(expected: Callable[[], object], page: Page | None = None) -> None:
    """Until it is so; with ``page``, its routes and requests are handled meanwhile."""
    deadline = time.monotonic() + 120
    while not expected():
        assert time.monotonic() < deadline
        if page:
            page.wait_for_timeout(50)
        else:
            time.sleep(0.05)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@dataclass
class Visitor:
    """A browser of somebody new, whose events go out soon.

    Attributes:
        posts: the requests that brought events.
    """

    shop: Shop
    context: BrowserContext
    user_id: str = field(default_factory=lambda: uuid4().hex)
    posts: list[Request] = field(default_factory=list)

    def open(self, origin: str | None = None, **config: Any) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(self.address(origin, **config))
        expect(page.locator("body[data-ready]")).to_be_attached()
        return page

    def address(self, origin: str | None = None, **config: Any) -> str:
        asked = {"url": "", "userId": self.user_id, "batchSeconds": 0.2, **config}
        return f"{origin or self.shop.url}/shop?{urlencode({'config': json.dumps(asked)})}"

    def events(self) -> list[tuple[str, str | None]]:
        return self.shop.events(self.user_id)


@pytest.fixture
def visitor(browser: Browser, shop: Shop) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": 800, "height": 900})
    visitor = Visitor(shop, context)
    context.on(
        "request", lambda sent: visitor.posts.append(sent) if sent.method == "POST" else None
    )
    yield visitor
    context.close()


def waiting(page: Page) -> int:
    """Events that wait in the browser's storage."""
    return page.evaluate(
        "Object.entries(localStorage).filter(([name]) => name.startsWith('feedwright'))"
        ".reduce((sum, [, text]) => sum + JSON.parse(text)[1].length, 0)"
    )


def test_a_scrolled_page_gives_each_event_once_in_few_requests(visitor: Visitor) -> None:
    start = time.monotonic()
    page = visitor.open(items=ITEMS, visibleMs=100, batchSeconds=5, batchSize=20)
    page.set_viewport_size({"width": 800, "height": 1_800})
    page.evaluate(SCROLL, ITEMS)
    page.close()
    seconds = time.monotonic() - start
    wait_for(lambda: len(visitor.events()) >= ITEMS)
    shown = Counter(item for kind, item in visitor.events() if kind == "impression")
    assert shown == {f"i{n}": 1 for n in range(ITEMS)}
    where = visitor.shop.metadata(visitor.user_id, "impression")
    assert sorted(one.pop("position") for one in where) == list(range(1, ITEMS + 1))
    assert where == [{"feed_id": "f1", "model_version": "7", "variant": "champion"}] * ITEMS
    count = len(visitor.events())  # on a busy machine items are looked at long enough to dwell
    print(f"{count} interactions in {len(visitor.posts)} requests, {seconds:.1f} s")
    assert len(visitor.posts) <= count // 20 + seconds // 5 + 1


def test_clicks_dwell_and_typed_functions(visitor: Visitor) -> None:
    page = visitor.open(items=3)
    page.get_by_text("Item 1").click()
    page.locator("li").nth(2).get_by_role("button").click()
    wait_for(lambda: len(visitor.events()) == 5, page)  # the impressions, so after a second
    page.evaluate("fw.search({ tags: ['lamp'], query: 'desk lamp' })")
    page.evaluate("document.querySelectorAll('li').forEach(card => card.remove())")
    wait_for(lambda: len(visitor.events()) >= 9)
    assert Counter(visitor.events()) == Counter(
        [
            *(("impression", f"i{n}") for n in range(3)),
            *(("dwell", f"i{n}") for n in range(3)),
            ("click", "i1"),
            ("save", "i2"),
            ("search", None),
        ]
    )
    seconds = [one["seconds"] for one in visitor.shop.metadata(visitor.user_id, "dwell")]
    assert all(1 <= one < 20 for one in seconds)
    assert visitor.shop.metadata(visitor.user_id, "search") == [
        {"tags": ["lamp"], "query": "desk lamp"}
    ]


def test_a_cut_network_loses_and_doubles_nothing(visitor: Visitor) -> None:
    page = visitor.open()
    page.evaluate("fw.like('before')")
    wait_for(lambda: len(visitor.events()) == 1)
    visitor.context.set_offline(True)
    page.evaluate("for (let n = 0; n < 50; n++) fw.click(`i${n}`)")
    assert waiting(page) == 50
    page.close()
    assert len(visitor.posts) == 1  # nothing was tried in vain
    visitor.context.set_offline(False)

    page = visitor.open()  # another page finds what the closed one left
    wait_for(lambda: len(visitor.events()) == 51)
    wait_for(lambda: waiting(page) == 0, page)
    assert len(visitor.events()) == len(set(visitor.events())) == 51
    assert len(visitor.posts) == 2


def test_a_lost_answer_is_asked_for_again_with_the_same_ids(visitor: Visitor) -> None:
    page = visitor.open()
    lost = []

    def lose(route: Route) -> None:
        lost.append(route.fetch().status)  # the server has it; the page never hears of it
        route.abort()

    page.route("**/api/v1/interactions**", lose, times=1)
    page.evaluate("fw.apply('i1')")
    wait_for(lambda: lost == [202], page)
    assert visitor.events() == [("apply", "i1")]
    assert waiting(page) == 1
    wait_for(lambda: waiting(page) == 0, page)
    assert visitor.events() == [("apply", "i1")]
    first, second = (json.loads(post.post_data or "") for post in visitor.posts)
    assert first == second


def test_a_closed_tab_sends_what_it_had(visitor: Visitor) -> None:
    page = visitor.open(items=2, batchSeconds=60)
    wait_for(lambda: waiting(page) == 2, page)
    page.evaluate("fw.share('i1')")
    page.close()
    wait_for(lambda: len(visitor.events()) >= 5)
    assert Counter(visitor.events()) == Counter(
        [(kind, item) for kind in ("impression", "dwell") for item in ("i0", "i1")]
        + [("share", "i1")]
    )
    page = visitor.open()  # to make sure, it is sent again
    wait_for(lambda: waiting(page) == 0)
    assert len(visitor.events()) == 5


def test_a_hidden_tab_does_not_dwell(visitor: Visitor) -> None:
    page = visitor.open(items=1)
    wait_for(visitor.events, page)
    become = """state => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
      return performance.now() / 1000;
    }"""  # a headless browser shows all its tabs
    seconds = page.evaluate(become, "hidden")
    page.wait_for_timeout(1_100)
    page.evaluate(f"({become})('visible'); document.querySelector('li').remove()")
    page.evaluate("fw.flush()")
    assert [kind for kind, _ in visitor.events()] == ["impression", "dwell"]
    (dwelt,) = visitor.shop.metadata(visitor.user_id, "dwell")
    assert 1 <= dwelt["seconds"] <= seconds


def test_tabs_of_one_browser_share_a_storage(visitor: Visitor) -> None:
    pages = [visitor.open() for _ in range(3)]
    visitor.context.set_offline(True)
    for number, page in enumerate(pages):
        page.evaluate(f"for (let n = 0; n < 20; n++) fw.click(`{number}-${{n}}`)")
    wait_for(lambda: waiting(pages[0]) == 60, pages[0])  # processes tell each other
    pages[0].close()
    visitor.context.set_offline(False)
    wait_for(lambda: waiting(pages[1]) == 0, pages[1])
    assert len(visitor.events()) == len(set(visitor.events())) == 60


def test_a_page_of_another_origin_needs_no_preflight(visitor: Visitor) -> None:
    page = visitor.open(visitor.shop.elsewhere, url=visitor.shop.url, key="fw_track_0")
    page.evaluate("fw.like('i1')")
    wait_for(lambda: len(visitor.events()) == 1 and waiting(page) == 0, page)
    page.evaluate("fw.like('i2')")
    page.close()
    wait_for(lambda: len(visitor.events()) == 2)
    assert all(post.url.endswith("?key=fw_track_0") for post in visitor.posts)
    assert visitor.posts[0].headers["content-type"].startswith("text/plain")


def test_without_consent_nothing_is_stored_or_sent(visitor: Visitor) -> None:
    page = visitor.open(items=2, visibleMs=50, consent=False)
    page.get_by_text("Item 1").click()
    page.wait_for_timeout(500)
    assert (waiting(page), visitor.posts) == (0, [])
    page.evaluate("fw.consent(true)")
    wait_for(lambda: len(visitor.events()) == 2)  # what can be seen now
    visitor.context.set_offline(True)
    page.get_by_text("Item 0").click()
    assert waiting(page) == 1
    page.evaluate("fw.consent(false)")
    assert page.evaluate("localStorage.length") == 0


def test_global_privacy_control_is_respected(visitor: Visitor) -> None:
    visitor.context.add_init_script(
        "Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })"
    )
    page = visitor.open(items=2, visibleMs=50)
    page.get_by_text("Item 1").click()
    page.wait_for_timeout(500)
    page.close()
    assert visitor.posts == []


def test_the_script_tag_makes_a_global_name(visitor: Visitor) -> None:
    page = visitor.open()
    page.add_script_tag(url=f"{visitor.shop.url}/tracker/feedwright.global.js")
    page.evaluate(f"feedwright({{ url: '', userId: '{visitor.user_id}' }}).view('i9')")
    page.close()
    wait_for(lambda: visitor.events() == [("view", "i9")])


def test_files_are_small_and_can_be_kept() -> None:
    with TestClient(Starlette(routes=tracker.endpoints.routes())) as http:
        files = http.get("/tracker/files.json").json()
        entries = ("", ".global", ".react", ".experiments")
        assert {f"feedwright{entry}.js" for entry in entries} < files.keys()
        for name, file in files.items():
            assert file["gzipped"] <= MOST_GZIPPED, name
            sealed = http.get(file["url"])
            assert "immutable" in sealed.headers["cache-control"]
            assert sealed.headers["access-control-allow-origin"] == "*"
            plain = http.get(f"/tracker/{name}?v=older")
            assert plain.headers["cache-control"] == "no-cache"
            assert plain.content == sealed.content
            again = http.get(f"/tracker/{name}", headers={"If-None-Match": plain.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


def test_the_files_are_built_from_the_sources() -> None:
    digest = hashlib.sha256()
    for path in sorted((SOURCES / "src").iterdir()):
        digest.update(path.read_bytes())
    sources = f"sources {digest.hexdigest()[:16]}"
    for path in tracker.ASSETS.glob("*.js"):
        first = path.read_text().partition("\n")[0]
        assert sources in first, f"{path.name} is older than its sources: run tools/tracker.sh"


def test_the_unit_tests_of_the_tracker_pass() -> None:
    node = Path(playwright.__file__).parent / "driver" / "node"
    done = subprocess.run(
        [node, "--test", "tests/"], cwd=SOURCES, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
