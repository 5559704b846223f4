"""The page of operators in a real browser, on the real application."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from uuid import uuid4

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from serving.pages.admin import ASSETS
from storage.postgres.database import connect
from tests.browser import Visit, running_browser, visit
from tests.conftest import TEMPLATE, url_of
from tests.serving.admin_world import (
    BEFORE,
    KEPT_SECONDS,
    LIMITS,
    LIVE,
    TRIAL,
    World,
    running_world,
    seed,
)

MOST_BYTES = 80_000
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def world(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    name = f"admin_{uuid4().hex}"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    database = url_of(postgres_url, name)
    with connect(database, autocommit=True) as connection:
        seed(connection)
    with running_world(database, tmp_path_factory.mktemp("admin"), limits=LIMITS) as made:
        yield made
    _server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def desk(browser: Browser, world: World) -> Iterator[Visit]:
    with visit(browser, world.url, viewport={"width": 1360, "height": 900}) as opened:
        yield opened


def open_page(seen: Visit, key: str) -> Page:
    """The page, once it shows everything."""
    page = seen.page
    page.goto("/admin")
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#live .number")).to_be_visible(timeout=20_000)
    expect(page.locator("#audit li").first).to_be_visible(timeout=20_000)
    assert [text for text in seen.complaints if "401" not in text] == []
    seen.complaints.clear()  # the browser's own, of the call without a key
    return page


def wait_for(expected: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not expected():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_key_is_asked_for_and_stays_in_the_tab(desk: Visit, world: World) -> None:
    page = desk.page
    page.goto("/admin")
    expect(page.get_by_role("alert").first).to_contain_text("Send a key")
    page.get_by_label("Key", exact=True).fill("fw_admin_00000000_" + "x" * 43)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert").first).to_contain_text("no such key")
    expect(page.locator("#board")).to_be_hidden()
    page.get_by_label("Key", exact=True).fill(world.key)
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_contain_text(LIVE)
    kept = "[sessionStorage.length, localStorage.length, document.cookie]"
    assert page.evaluate(kept) == [1, 0, ""]
    assert world.key not in page.url
    page.get_by_role("button", name="Forget the key").click()
    expect(page.locator("#lock")).to_be_visible()
    assert page.evaluate(kept) == [0, 0, ""]
    assert all("401" in text for text in desk.complaints)
    desk.complaints.clear()


def test_what_is_shown_is_what_the_api_says(desk: Visit, world: World) -> None:
    page = open_page(desk, world.key)
    expect(page.locator("#live .number")).to_have_text(f"version {LIVE}")
    expect(page.locator("#live")).to_contain_text(f"version {BEFORE}")
    expect(page.locator("#live")).to_contain_text(f"version {TRIAL}")
    expect(page.locator("#tiles")).to_contain_text("5.0 %")
    told = httpx.get(
        f"{world.url}/api/v1/admin/metrics", headers={"Authorization": f"Bearer {world.key}"}
    ).json()
    ctr = page.locator('#variants [data-key="ctr"] li')
    assert ctr.count() == len(told["by_variant"])
    for one in told["by_variant"]:
        row = page.locator(
            f'#variants [data-key="ctr"] [data-key="{one["variant"]} {one["model_version"]}"]'
            if one["model_version"]
            else f'#variants [data-key="ctr"] [data-key="{one["variant"]} null"]'
        )
        rate = one["metrics"]["ctr"]
        if rate["enough"]:
            expect(row.locator("b")).to_have_text(f"{100 * rate['value']:.1f} %")
            expect(row.locator("svg circle")).to_have_count(1)
            expect(row.locator("svg .interval")).to_have_count(3)
        else:
            expect(row).to_contain_text("not enough data")
            expect(row.locator("svg circle")).to_have_count(0)
    expect(page.locator("#time svg .line")).to_have_count(8)
    running = page.locator('#experiments [data-key="new-model-may"]')
    expect(running.locator(".whisker .dot")).to_have_count(1)
    expect(running).to_contain_text("Users are split as they should be")
    expect(page.locator("#experiments")).to_contain_text("Held: dismissals rose by 9 %")
    expect(page.locator("#freshness")).to_contain_text("user similarities")
    expect(page.locator("#freshness .never")).to_contain_text("never")
    expect(page.locator("#versions")).to_contain_text("withdrawn")
    expect(page.locator("#alerts")).to_contain_text("is rolled back")


def test_a_rollback_by_click_reaches_the_audit_log(desk: Visit, world: World) -> None:
    desk.page.clock.install()
    page = open_page(desk, world.key)

    def shows(version: str) -> bool:
        page.clock.fast_forward(11_000)  # as often as it would ask again by itself
        page.wait_for_timeout(300)
        return page.locator("#live .number").text_content() == f"version {version}"

    page.get_by_role("button", name=f"Roll back to version {BEFORE}").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Roll back").click()
    expect(dialog).to_be_visible()  # a reason is needed
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert world.registry.aliases["champion"] == LIVE

    page.get_by_role("button", name=f"Roll back to version {BEFORE}").click()
    dialog.get_by_label("Reason").fill("complaints of users")
    dialog.get_by_role("button", name="Roll back").click()
    wait_for(lambda: world.registry.aliases["champion"] == BEFORE)
    wait_for(lambda: shows(BEFORE))
    expect(page.locator("#audit")).to_contain_text("complaints of users")
    expect(page.locator("#audit")).to_contain_text("ann")
    expect(page.locator(f'#versions [data-key="{LIVE}"]')).to_contain_text("withdrawn")

    page.get_by_role("button", name=f"Activate version {LIVE}").click()
    dialog.get_by_label("Reason").fill("it was not the model")
    dialog.get_by_label("all the same").check()
    dialog.get_by_role("button", name="Activate").click()
    wait_for(lambda: world.registry.aliases["champion"] == LIVE)
    wait_for(lambda: shows(LIVE))


def test_flags_experiments_and_training_by_click(desk: Visit, world: World) -> None:
    page = open_page(desk, world.key)

    def flag() -> tuple[bool, float]:
        with connect(world.database) as connection:
            row = connection.execute(
                "SELECT enabled, share FROM feed.feature_flags"
                " WHERE name = 'ml_recommendations' AND environment = 'default'"
            ).fetchone()
        assert row is not None
        return row

    switch = page.get_by_role("switch", name="ml_recommendations")
    switch.uncheck()
    wait_for(lambda: not flag()[0])
    expect(page.locator("#notices")).to_contain_text("ml_recommendations is off")
    expect(switch).not_to_be_checked()
    switch.check()
    share = page.get_by_label("Share of users of ml_recommendations")
    share.fill("12.5")
    share.press("Enter")
    wait_for(lambda: flag() == (True, 0.125))
    share.fill("100")
    share.press("Enter")
    wait_for(lambda: flag() == (True, 1.0))

    page.get_by_role("button", name="pause new-model-may").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("a look first")
    dialog.get_by_role("button", name="Pause").click()
    expect(page.locator('#experiments [data-key="new-model-may"] .chip').first).to_have_text(
        "paused"
    )

    page.get_by_role("button", name="Train now").click()
    dialog.get_by_label("Reason").fill("new catalogue")
    dialog.get_by_role("button", name="Train").click()
    expect(page.locator("#training")).to_contain_text("A training runs")
    expect(page.get_by_role("button", name="Train now")).to_be_disabled()
    world.dagster.going.clear()


def test_a_click_is_not_undone_by_an_answer_from_before_it(desk: Visit, world: World) -> None:
    page = open_page(desk, world.key)
    held: list[Route] = []
    page.route(
        "**/admin/flags/new_cards",
        lambda route: held.append(route) if not held else route.continue_(),
    )
    switch = page.get_by_role("switch", name="new_cards").first
    before = switch.is_checked()
    switch.click()
    page.locator("#days").focus()
    with page.expect_response("**/admin/audit*"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(300)
    expect(switch).to_be_checked(checked=not before)
    switch.click()  # a second change waits for the first
    assert len(held) == 1
    with page.expect_response("**/admin/flags/new_cards"), page.expect_response("**/admin/audit*"):
        held[0].continue_()
    expect(page.locator("#notices")).to_contain_text("new_cards is")
    expect(switch).to_be_checked(checked=before)


def test_it_refreshes_and_keeps_focus_scroll_and_what_is_typed(desk: Visit, world: World) -> None:
    desk.page.clock.install()
    page = open_page(desk, world.key)
    share = page.get_by_label("Share of users of new_cards, default")
    share.focus()
    share.fill("33")
    page.evaluate("scrollTo(0, 700)")
    before = page.evaluate("scrollY")
    with connect(world.database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.audit_log (actor, action) VALUES ('somebody', 'something.done')"
        )
    page.clock.fast_forward(11_000)
    expect(page.locator("#audit")).to_contain_text("something.done")
    expect(share).to_be_focused()
    expect(share).to_have_value("33")
    assert page.evaluate("scrollY") == before


def test_what_is_away_is_told(desk: Visit, world: World) -> None:
    world.dagster.slow = 5.0
    try:
        time.sleep(KEPT_SECONDS + 0.1)
        page = open_page(desk, world.key)
        expect(page.locator("#notices")).to_contain_text("Dagster is away")
        expect(page.locator("#freshness")).to_contain_text("Dagster is away")
        expect(page.locator("#live .number")).to_have_text(re.compile(r"version \d+"))
    finally:
        world.dagster.slow = 0.0


def test_the_page_is_accessible(desk: Visit, world: World) -> None:
    page = open_page(desk, world.key)
    check = Path(__file__).with_name("accessibility.js").read_text()
    fine: dict[str, list[str]] = {
        "nameless": [],
        "repeated_ids": [],
        "skipped_headings": [],
        "faint": [],
    }
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(check) == fine
    page.get_by_role("button", name="Roll back").first.click()
    assert page.evaluate(check) == fine
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")
    for role in ("main", "banner", "contentinfo", "navigation"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("heading", level=1).count() == 1


def test_a_phone_never_scrolls_sideways(browser: Browser, world: World) -> None:
    with visit(
        browser, world.url, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True
    ) as hand:
        page = open_page(hand, world.key)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_assets_are_small_checked_and_sealed(world: World) -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) <= MOST_BYTES
    with httpx.Client(base_url=world.url) as http:
        page = http.get("/admin")
        files = set(re.findall(r'(?:href|src)="(admin/[^"]+)"', page.text))
        assert {f"admin/{path.name}" for path in ASSETS.iterdir()} == files | {"admin/index.html"}
        for path in ["admin", *files]:
            answer = http.get(f"/{path}")
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'")
            assert "unsafe" not in policy
        assert http.post("/admin").status_code == 401
