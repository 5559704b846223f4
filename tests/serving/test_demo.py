"""The demo page in a real browser, on the real application."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
import yaml
from playwright.sync_api import Browser, Page, Request, Route, expect

from models.profile.schema import SHIPPED
from serving.app import FeedApp
from serving.pages.demo import ASSETS
from storage.operations.keys import make_key
from storage.postgres.database import connect
from storage.settings import Settings
from tests.browser import Visit, running_browser, visit
from tests.conftest import TEMPLATE, url_of
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import PROFILE, TAGS, with_tables

MARKUP = "<img src=x onerror=alert(1)>"
MOST_BYTES = 120_000
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LANDMARKS: tuple[Literal["main", "banner", "contentinfo", "navigation"], ...] = (
    "main",
    "banner",
    "contentinfo",
    "navigation",
)


@pytest.fixture(scope="module")
def served(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """A server with a model and the catalogue that belongs to it: its address, and a key."""
    name = f"demo_{uuid4().hex}"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    mlflow.version = "1"
    home = tmp_path_factory.mktemp("demo")
    # What a machine busy with other tests takes must not become a fallback.
    profile = yaml.safe_load((SHIPPED / "marketplace.yaml").read_text())
    profile.setdefault("serving", {})["time_budget_ms"] = 5_000
    (home / "marketplace.yaml").write_text(yaml.safe_dump(profile))
    settings = Settings(
        home=home,
        profile=str(home / "marketplace.yaml"),
        database_url=url_of(postgres_url, name),
        mlflow_url=mlflow.url,
        model_poll_seconds=0.2,
    )
    with_tables("1").save(settings.snapshots / "1")
    with connect(settings.database_url or "") as connection:
        key = make_key(connection, "admin", "demo")
    app = FeedApp(settings)
    server = uvicorn.Server(uvicorn.Config(app.asgi, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        load_catalogue(url)
        wait_for(lambda: httpx.get(f"{url}/api/v1/feed?user_id=u0001").json()["total"] > 40)
        yield url, key
    finally:
        server.should_exit = True
        thread.join(20)
        mlflow.close()
        _server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def address(served: tuple[str, str]) -> str:
    return served[0]


@pytest.fixture(scope="module")
def admin_key(served: tuple[str, str]) -> str:
    return served[1]


def wait_for(expected: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not expected():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def load_catalogue(url: str) -> None:
    """Titles and places of the snapshot's items and users, by the API itself."""
    entries = [
        {
            "id": f"i{n:04}",
            "title": MARKUP if n < 2 else f"Listing number {n}",
            "tags": [TAGS[n % len(TAGS)]],
            "category": "thing",
            "city": "Lisbon",
            "lat": 38.7 + n / 600,
            "lon": -9.1 + (n * 7 % 60) / 600,
            "price_min": 10 + n,
            "price_max": 20 + n,
        }
        for n in range(60)
    ]
    people = [
        {
            "id": f"u{n:04}",
            "lat": 38.7 + n / 300,
            "lon": -9.05,
            "city": "Lisbon",
            "tags": [TAGS[n % len(TAGS)]],
            "attributes": {"about": MARKUP},
        }
        for n in range(30)
    ]
    for what, rows in (("items", entries), ("users", people)):
        answer = httpx.post(f"{url}/api/v1/{what}:bulk", json={what: rows}, timeout=30)
        answer.raise_for_status()
        assert answer.json()["rejected"] == 0, answer.text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def desk(browser: Browser, address: str) -> Iterator[Visit]:
    with visit(browser, address, viewport={"width": 1360, "height": 900}) as opened:
        yield opened


def shown(page: Page) -> list[str]:
    """Ids of the cards, once the page has settled."""
    expect(page.locator("#cards")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("#cards .skeleton")).to_have_count(0)
    return page.locator("#cards > li").evaluate_all("cards => cards.map(c => c.dataset.id)")


def open_feed(page: Page, address: str) -> list[str]:
    page.goto(address)
    expect(page.locator("#cards h3").first).to_be_visible()
    return shown(page)


def query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def answer_of(page: Page, path: str, act: Callable[[], Any]) -> tuple[Request, Any]:
    """The first call of ``path`` that ``act`` causes, once its cards are there, and its JSON."""
    with page.expect_response(lambda answer: urlsplit(answer.url).path == path) as found:
        act()
    body = found.value.json()
    expect(page.locator("#cards > li").first).to_have_attribute(
        "data-id", body["items"][0]["item_id"]
    )
    return found.value.request, body


def test_a_first_visit_shows_a_personal_feed_with_reasons(desk: Visit) -> None:
    page = desk.page
    request, feed = answer_of(page, "/api/v1/feed", lambda: page.goto("/"))
    assert query(request)["user_id"] == "u0000"
    assert shown(page) == [item["item_id"] for item in feed["items"]]
    expect(page.locator("#status")).to_contain_text("Ranked by the champion model, version 1")
    expect(page.locator("#about")).to_contain_text("Lisbon")
    cards = page.locator("#cards > li")
    for card, item in list(zip(cards.all(), feed["items"], strict=True))[:5]:
        number = int(item["item_id"][1:])
        title = MARKUP if number < 2 else f"Listing number {number}"  # text, never markup
        expect(card.locator("h3")).to_have_text(title)
        expect(card.locator(".rank")).to_have_text(str(item["rank"]))
        expect(card.locator(".reason")).to_have_text(item["reason"])
        assert card.locator(".sources li").count() == len(item["sources"])
        values = card.locator("dd").all_inner_texts()
        wanted = item["components"].values()
        shares = [item["components"][f"table.{name}"] for name in ("ease", "popularity")]
        assert shares[0] + shares[1] == pytest.approx(1, abs=1e-3)
        named = sorted(zip(shares, ("EASE", "popularity"), strict=True), reverse=True)
        expect(card.locator(".tables li")).to_have_text(
            [f"{name} {int(100 * share + 0.5)} %" for share, name in named if share >= 0.2]
        )
        assert values == ["not known" if v is None else f"{v:.2f}" for v in wanted]
        widths = card.locator(".level i").evaluate_all(
            "bars => bars.map(b => b.offsetWidth / b.parentElement.offsetWidth)"
        )
        known = [min(value, 1) for value in wanted if value is not None]
        assert widths == pytest.approx(known, abs=0.02)
    expect(page.locator("#map .dots circle")).to_have_count(len(feed["items"]))


def test_another_user_gets_another_feed_and_back_goes_back(desk: Visit) -> None:
    page = desk.page
    first = open_feed(page, "/?user=u0007")
    page.get_by_role("combobox", name="User").fill("u0008")
    expect(page.get_by_role("option", name="u0008")).to_be_visible()
    page.keyboard.press("ArrowDown")
    request, _ = answer_of(page, "/api/v1/feed", lambda: page.keyboard.press("Enter"))
    assert query(request)["user_id"] == "u0008"
    assert "user=u0008" in page.url
    assert shown(page) != first

    answer_of(page, "/api/v1/feed", page.go_back)
    expect(page.locator("#who")).to_have_value("u0007")

    page.locator("#who").click()
    stranger = page.get_by_role("option", name="Somebody new")
    request, feed = answer_of(page, "/api/v1/feed", stranger.click)
    assert "user_id" not in query(request)
    assert feed["fallback_reason"] == "anonymous"
    expect(page.locator("#status")).to_contain_text("nobody is signed in")


def test_weights_change_the_order(desk: Visit) -> None:
    page = desk.page
    before = open_feed(page, "/?user=u0007")
    page.get_by_role("slider", name="Interests").focus()
    request, feed = answer_of(page, "/api/v1/feed", lambda: page.keyboard.press("End"))
    weights = dict(pair.split(":") for pair in query(request)["weights"].split(","))
    assert weights.keys() == PROFILE.scorer_weights.keys()
    assert weights["tags"] == "100"
    assert shown(page) != before
    assert feed["variant"] == "heuristic"
    expect(page.locator("#status")).to_contain_text("Ranked by your weights")

    request, _ = answer_of(page, "/api/v1/feed", page.get_by_text("Reset the weights").click)
    assert "weights" not in query(request)
    assert page.locator("#weight-tags").input_value() == str(PROFILE.scorer_weights["tags"])[:2]


def test_profile_variant_and_switches_are_asked_for(desk: Visit) -> None:
    page = desk.page
    open_feed(page, "/?user=u0007")
    for name, act, wanted in (
        ("profile", lambda: page.get_by_label("Profile").select_option("social"), "social"),
        ("variant", lambda: page.locator("#variant").select_option("heuristic"), "heuristic"),
        ("sort", lambda: page.get_by_label("Order").select_option("time"), "time"),
        ("exclude_seen", page.get_by_label("Show what was seen too").check, "false"),
    ):
        request, _ = answer_of(page, "/api/v1/feed", act)
        assert query(request)[name] == wanted
        assert f"{name}={wanted}" in page.url


def test_a_place_is_set_on_the_map_and_by_numbers(desk: Visit) -> None:
    page = desk.page
    open_feed(page, "/?user=u0007")
    plate = page.get_by_role("application", name="Map")
    request, _ = answer_of(
        page, "/api/v1/feed", lambda: plate.click(position={"x": 80, "y": 60})
    )  # fmt: skip
    clicked = query(request)
    assert 38 < float(clicked["lat"]) < 40.5  # the map shows the items' surroundings
    assert -11 < float(clicked["lon"]) < -7

    plate.focus()
    request, _ = answer_of(page, "/api/v1/feed", lambda: page.keyboard.press("ArrowUp"))
    moved = query(request)
    assert float(moved["lat"]) > float(clicked["lat"])
    assert moved["lon"] == clicked["lon"]

    page.get_by_label("Latitude").fill("38.9")
    page.get_by_label("Longitude").fill("-9.2")
    request, _ = answer_of(page, "/api/v1/feed", lambda: page.keyboard.press("Enter"))
    assert (query(request)["lat"], query(request)["lon"]) == ("38.9", "-9.2")

    clear = page.get_by_role("button", name="Clear location")
    request, _ = answer_of(page, "/api/v1/feed", clear.click)
    assert "lat" not in query(request)


def test_show_more_repeats_nothing(desk: Visit) -> None:
    page = desk.page
    first = open_feed(page, "/?user=u0007")
    assert len(first) == 20
    more = page.get_by_role("button", name="Show more")
    more.evaluate("button => button.click()")
    expect(page.locator("#cards > li").nth(39)).to_be_attached()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")  # the rest comes by itself
    expect(more).to_be_hidden()
    ids = shown(page)
    ranks = page.locator(".rank").all_inner_texts()
    assert len(set(ids)) == len(ids)
    assert ids[:20] == first
    assert ranks == [str(rank + 1) for rank in range(len(ids))]
    total = re.search(r"(\d+) items", page.locator("#status").inner_text())
    assert total is not None
    assert len(ids) == int(total[1])


def test_trending_near_and_similar(desk: Visit) -> None:
    page = desk.page
    open_feed(page, "/?user=u0007")
    page.get_by_role("tab", name="For you").focus()
    answer_of(page, "/api/v1/feed/trending", lambda: page.keyboard.press("ArrowRight"))
    expect(page.get_by_role("tab", name="Trending")).to_be_focused()

    near = page.get_by_role("tab", name="Near")
    request, body = answer_of(page, "/api/v1/feed/nearby", near.click)
    assert (request.post_data_json or {})["user_id"] == "u0007"
    distances = [item["distance_km"] for item in body["items"]]
    assert distances == sorted(distances)
    expect(page.locator(".facts").first).to_contain_text("away")

    item = shown(page)[0]
    button = page.locator("#cards button").first
    answer_of(page, f"/api/v1/feed/similar/{item}", button.click)
    assert f"item={item}" in page.url
    assert item not in shown(page)
    expect(page.get_by_role("tab", name="Similar")).to_have_attribute("aria-selected", "true")

    page.goto("/?user=&tab=near")
    expect(page.locator(".empty")).to_contain_text("Choose a place on the map")
    page.goto("/?user=u0007&tab=similar")
    expect(page.locator(".empty")).to_contain_text("Similar")


def test_an_error_is_told_in_the_server_s_words(desk: Visit) -> None:
    page = desk.page
    page.goto("/?user=u0007&lat=95&lon=1")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("lat")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()
    assert len(desk.complaints) == 1  # the browser's own, of status 422
    assert "422" in desk.complaints.pop()


def test_the_page_is_accessible(desk: Visit) -> None:
    page = desk.page
    open_feed(page, "/?user=u0007")
    check = Path(__file__).with_name("accessibility.js").read_text()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate(check)
        assert found == {"nameless": [], "repeated_ids": [], "skipped_headings": [], "faint": []}
    for role in LANDMARKS:
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the feed")).to_be_focused()


def test_a_phone_never_scrolls_sideways(browser: Browser, address: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with visit(browser, address, **phone) as hand:
        page = hand.page
        open_feed(page, "/?user=u0007&item=i0001")
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        for tab in ("For you", "Trending", "Near", "Similar"):
            page.get_by_role("tab", name=tab).click()
            assert shown(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab


def test_assets_are_small_checked_and_sealed(address: str) -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) <= MOST_BYTES
    with httpx.Client(base_url=address) as http:
        page = http.get("/")
        files = set(re.findall(r'(?:href|src)="(demo/[^"]+)"', page.text))
        assert {f"demo/{path.name}" for path in ASSETS.iterdir()} == files | {"demo/index.html"}
        for path in ["", *files]:
            answer = http.get(f"/{path}")
            assert answer.status_code == 200
            assert answer.headers["content-encoding"] == "gzip"
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'")
            assert "unsafe" not in policy
            again = http.get(f"/{path}", headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert http.get("/demo/nothing.js").status_code == 404


def told(address: str, user: str) -> list[tuple[str, str]]:
    """Types and items of what is on file of a user."""
    rows = httpx.get(f"{address}/api/v1/users/{user}/export").json()["interactions"]
    return [(row["type"], row["item_id"]) for row in rows]


def expect_told(page: Page, address: str, user: str, type: str) -> None:
    """Wait in the page, whose routes are not answered while Python sleeps."""
    deadline = time.monotonic() + 120
    while type not in {kind for kind, _ in told(address, user)}:
        assert time.monotonic() < deadline, type
        page.wait_for_timeout(100)


def test_acting_as_a_user_is_recorded_and_changes_the_feed(desk: Visit, address: str) -> None:
    page = desk.page
    first = open_feed(page, "/?user=u0009")
    page.wait_for_timeout(1_500)  # what is only looked at is not recorded
    page.get_by_label("Act as this user").check()
    dismiss = page.locator("#cards > li").first.get_by_role("button", name="Not for me")
    expect(dismiss).to_be_visible()
    expect_told(page, address, "u0009", "impression")  # it was on the screen for long enough
    dismiss.click()
    expect(page.locator(f'#cards > [data-id="{first[0]}"]')).to_have_count(0)
    known = told(address, "u0009")
    assert known.count(("dismiss", first[0])) == 1
    assert known.count(("impression", first[0])) == 1
    assert {type for type, _ in known} <= {"dismiss", "impression", "dwell"}


def test_a_key_is_asked_for_where_one_is_needed(desk: Visit, address: str, admin_key: str) -> None:
    page = desk.page

    def locked(route: Route) -> None:
        if "authorization" in route.request.headers or "token=" in route.request.url:
            route.continue_()
        else:
            detail = {"title": "Unauthorized", "detail": "A key is needed.", "status": 401}
            route.fulfill(status=401, json=detail)

    page.route("**/api/v1/**", locked)
    page.goto("/?user=u0011")
    page.get_by_label("Key").fill(admin_key)
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#cards h3").first).to_be_visible()
    desk.complaints.clear()  # the browser's own, of status 401
    with page.expect_response("**/user-tokens"):
        page.get_by_label("Act as this user").check()
    expect_told(page, address, "u0011", "impression")  # from here on it listens
    page.get_by_role("button", name="Save").first.click()
    expect_told(page, address, "u0011", "save")
