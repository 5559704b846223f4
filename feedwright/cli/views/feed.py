"""A user's feed, fetched from the server and shown as a table or a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from feedwright.errors import FeedwrightError
from feedwright.local.database import database_address
from feedwright.local.status import feed_client
from storage.postgres.database import connect
from storage.settings import Settings

PICTURE_WIDTH = 110  # characters


def fetch(settings: Settings, user: str, limit: int) -> dict[str, Any]:
    """The server's answer.

    Raises:
        FeedwrightError: the server is down, or refuses.
    """
    try:
        with feed_client(settings, 10.0) as client:
            answer = client.get("/api/v1/feed", params={"user_id": user, "limit": limit})
    except httpx.HTTPError as error:
        raise FeedwrightError(
            f"The feed at {settings.feed_address} does not answer ({type(error).__name__}).",
            "Start it with: feedwright up",
        ) from error
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise FeedwrightError(
            f"The feed at {settings.feed_address} wants a key.",
            "Make one, feedwright keys make --scope read --name shell, and set it as "
            "FEEDWRIGHT_API_KEY.",
        )
    if not answer.is_success:
        raise FeedwrightError(
            f"The feed answered {answer.status_code}: {' '.join(answer.text.split())[:300]}",
            "See: feedwright logs feed",
        )
    return answer.json()


def titles(settings: Settings, items: list[str]) -> dict[str, str]:
    """Titles of items by id, as far as the database is up and has them."""
    url = database_address(settings)
    if url is None:
        return {}
    with connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT id, title FROM feed.items WHERE id = ANY(%s) AND title IS NOT NULL", [items]
        ).fetchall()
    return dict(rows)


def show(
    answer: dict[str, Any],
    user: str,
    names: Mapping[str, str],
    console: Console,
    picture: Path | None,
) -> None:
    """Print the feed; with ``picture``, write it there as SVG too."""
    drawn = table(answer, user, names)
    console.print(drawn)
    if picture is None:
        return
    recorder = Console(record=True, width=PICTURE_WIDTH, file=StringIO(), force_terminal=True)
    recorder.print(drawn)
    drawing = recorder.export_svg(title=f"feedwright feed {user}")
    # a picture fetches nothing: any font of even width does
    picture.write_text(re.sub(r"@font-face\s*{[^}]*}", "", drawing), encoding="utf-8")
    console.print(f"Picture: {picture}", highlight=False)


def table(answer: dict[str, Any], user: str, names: Mapping[str, str]) -> Table:
    by = f"model {answer.get('model_version')}, {answer.get('variant')}"
    if answer.get("fallback_reason"):
        by = f"heuristic, because: {answer['fallback_reason']}"
    drawn = Table(
        "#", "item", "score", "reason", title=f"Feed of user {escape(user)}", caption=escape(by)
    )
    for item in answer["items"]:
        name = names.get(item["item_id"], item["item_id"])
        drawn.add_row(
            str(item["rank"]),
            escape(name),
            f"{item['recommendation_score']:.3f}",
            escape(item["reason"]),
        )
    return drawn
