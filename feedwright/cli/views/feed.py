"""A user's feed as a table or a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from feedwright.local.database import database_address
from storage.postgres.database import connect
from storage.settings import Settings

PICTURE_WIDTH = 110  # characters


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
