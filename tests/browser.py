"""A headless Chromium for tests, and the things that no page may do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 60_000
"""Milliseconds for what a page is to show or do: the machine may be busy."""
expect.set_options(timeout=PATIENCE)


def chromium() -> str:
    """Path of a Chromium; without one the test is skipped."""
    names = (os.environ["CHROMIUM"],) if "CHROMIUM" in os.environ else NAMES
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip("no Chromium: tools/test_programs.sh chromium")


@contextmanager
def running_browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@dataclass
class Visit:
    """One page of a fresh browser, and what it did.

    Attributes:
        complaints: errors of the console and uncaught exceptions.
        requests: every request in order.
    """

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def strangers(self) -> list[str]:
        """Addresses of requests to another origin."""
        return [
            request.url for request in self.requests if not request.url.startswith(self.address)
        ]


@contextmanager
def visit(browser: Browser, address: str, **context: Any) -> Iterator[Visit]:
    """Opens a page without animations; afterwards it must have had no error and no stranger."""
    opened = browser.new_context(base_url=address, reduced_motion="reduce", **context)
    page = opened.new_page()
    page.set_default_timeout(PATIENCE)
    seen = Visit(page, address)
    page.on("request", lambda request: seen.requests.append(request))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: seen.complaints.append(message.text) if message.type == "error" else None,
    )
    try:
        yield seen
    finally:
        opened.close()
    assert seen.complaints == [], seen.complaints
    assert seen.strangers() == [], seen.strangers()
