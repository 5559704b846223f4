"""A page of another origin in a real browser, against a console behind the gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.browser import running_browser
from tests.gateway.running import World, listening, plain, running, world

PAGE = """<!doctype html><title>Another's page</title>
<iframe name="frame"></iframe>
<form method="post" target="frame" enctype="text/plain"><input name="{" value="}"></form>
<script>
const launch = '{"query": "mutation { launchRun { __typename } }"}';
const asJson = {"Content-Type": "application/json"};
const asText = {"Content-Type": "text/plain;application/json"};
const ways = {
  text: url => fetch(url, {method: "POST", body: launch, headers: asText, mode: "no-cors"}),
  json: url => fetch(url, {method: "POST", body: launch, headers: asJson}),
  read: url => fetch(url + "?query={version}"),
  image: url => new Promise(done => {
    const image = document.createElement("img");
    image.onload = image.onerror = done;
    image.src = url + "?query=mutation{launchRun}";
  }),
  form: url => new Promise(done => {
    document.querySelector("iframe").onload = done;
    document.forms[0].action = url;
    document.forms[0].submit();
  }),
  websocket: url => new Promise((opened, refused) => {
    const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
    socket.onopen = () => opened("open");
    socket.onerror = () => refused(new Error("refused"));
  }),
};
const attempt = (way, url) => ways[way](url)
  .then(answer => answer && (answer.status || answer.type || String(answer)))
  .catch(() => "refused");
</script>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as found:
        yield found


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture
def stranger(browser: Browser) -> Iterator[Page]:
    page = Starlette(routes=[Route("/", lambda request: HTMLResponse(PAGE))])
    with listening() as (bound, url), running(plain(page), bound):
        opened = browser.new_page()
        opened.goto(url)
        yield opened
        opened.close()


@pytest.mark.parametrize("way", ["text", "json", "read", "image", "form", "websocket"])
def test_another_page_reaches_nothing(here: World, stranger: Page, way: str) -> None:
    answer = stranger.evaluate("([way, url]) => attempt(way, url)", [way, f"{here.url}/graphql"])
    assert answer in ("refused", "opaque", "error", "load", "[object Event]")
    assert here.console.seen == []


def test_the_consoles_own_page_may_do_all_of_it(here: World, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{here.url}/runs")
    page.evaluate(PAGE.partition("<script>")[2].partition("</script>")[0].replace("const ", "var "))
    for way, answer in {"text": 200, "json": 200, "read": 200, "websocket": "open"}.items():
        assert (
            page.evaluate("([way, url]) => attempt(way, url)", [way, f"{here.url}/graphql"])
            == answer
        )
    page.close()


def test_a_link_opens_the_page(here: World, stranger: Page) -> None:
    here.console.seen.clear()
    stranger.evaluate("url => { location = url }", f"{here.url}/runs")
    stranger.wait_for_url(f"{here.url}/runs")
    assert stranger.title() == "console"
    here.console.seen.clear()
