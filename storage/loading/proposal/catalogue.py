"""Which file, or which columns of the interactions' file, tell of the items and the users."""

from __future__ import annotations

import polars as pl

from storage.loading.names import letters
from storage.loading.proposal.draft import Proposal
from storage.loading.proposal.looks import Column, Look
from storage.loading.proposal.roles import is_title, named
from storage.loading.reading.joined import parts_of
from storage.loading.reading.rows import OF_ITEMS, follows
from storage.loading.values.columns import COLUMNS, STATUSES

OF_CATALOGUE = ("title", "text", "tags", "category", "price_min", "lat", "lon", "city", "owner_id")
OF_USERS = ("lat", "lon", "city")
SHORT = 60  # characters of a category, or of the tags of an item
_STATUS_OF = {
    word: status
    for status, words in {
        "published": (
            "published", "active", "live", "available", "enabled", "visible", "public", "onsale",
            "instock",
        ),
        "draft": (
            "draft", "pending", "inactive", "hidden", "private", "unpublished", "disabled",
            "paused", "scheduled", "unlisted",
        ),
        "removed": (
            "removed", "deleted", "archived", "sold", "expired", "banned", "discontinued",
            "withdrawn", "cancelled", "canceled",
        ),
    }.items()
    for word in words
}  # fmt: skip
SEPARATORS = ("|", ";", ", ", ",", "/", " ")


def _values(proposal: Proposal, role: str) -> pl.Series:
    name = proposal.columns["interactions"][role]
    assert name is not None
    return proposal.files["interactions"].column(name).text.drop_nulls().unique()


def _shared(column: Column, values: pl.Series) -> int:
    """How many of the interactions' ids stand in a column."""
    there = column.text.drop_nulls().unique().str.replace(r"\.0$", "")
    return int(values.str.replace(r"\.0$", "").is_in(there.implode()).sum())


def find_items(proposal: Proposal, others: list[Look]) -> None:
    values, best = _values(proposal, "item_id"), 0
    for other in others:
        key = _key(other, values, "item_id")
        if key is None:
            continue
        columns = _catalogue(other, key)
        score = 1_000 * (len(columns) > 0) + _shared(key, values) + len(columns)
        if columns and score > best:
            best = score
            proposal.files["items"] = other
            proposal.columns["items"] = {"id": key.name, **columns}
    events = proposal.files["interactions"]
    if "items" not in proposal.files and not (events.inner and events.form.kind == "csv"):
        columns = _within(proposal, events)
        if columns:
            proposal.columns["items"] = dict(columns)
            proposal.why["items"] = f"they are in {events.name}, in the rows of their interactions"
    elif "items" in proposal.files:
        _switch_off(proposal, proposal.files["items"])


def _key(look: Look, values: pl.Series, role: str) -> Column | None:
    """The column with the ids of the interactions: the one that shares most, or is called so."""
    unique = [column for column in look.columns if column.is_unique]
    shared = max(unique, key=lambda column: _shared(column, values), default=None)
    if shared is not None and _shared(shared, values):
        return shared
    if look.form.header is False:
        return None
    by_name = named(look, role, set())
    return by_name if by_name is not None and by_name.is_unique else None


def _catalogue(look: Look, key: Column) -> dict[str, str | None]:
    """Role -> column of a file of items."""
    taken = {key.name}
    columns: dict[str, str | None] = {}
    for role in OF_CATALOGUE if look.form.header is not False else ():
        if (column := named(look, role, taken)) is not None:
            columns[role] = column.name
            taken.add(column.name)
    if ("lat" in columns) != ("lon" in columns):
        columns.pop("lat", None)
        columns.pop("lon", None)
    _title_of_text(look, columns)
    if look.form.header is False:
        texts = [c for c in look.columns if c is not key and is_title(c) and not c.is_time]
        title = max(texts, key=lambda c: c.distinct, default=None)
        if title is not None:
            columns["title"] = title.name
            after = [c for c in texts if c is not title and c.length < SHORT]
            tags = next((c for c in after if _separator(c) in ("|", ";", ", ")), None)
            category = next(
                (c for c in after if c is not tags and c.distinct < title.distinct), None
            )
            columns |= {"tags": tags.name} if tags else {}
            columns |= {"category": category.name} if category else {}
    return columns


def _within(proposal: Proposal, events: Look) -> dict[str, str | None]:
    """Columns of the interactions' file that are the same in all rows of an item."""
    item = proposal.columns["interactions"]["item_id"]
    given = [name for name in proposal.columns["interactions"].values() if name]
    taken = {part for name in given for part in (name, *parts_of(name))}
    taken |= {proposal.scale[0]} if proposal.scale else set()
    assert item is not None
    columns: dict[str, str | None] = {}
    for role in OF_ITEMS:
        column = _of_item(events, role, taken, events.column(item))
        if column is not None:
            columns[role] = column.name
            taken.add(column.name)
    _title_of_text(events, columns)
    if "title" not in columns and is_title(events.column(item)) and events.column(item).codes < 0.5:
        columns["title"] = item
    return columns


def _of_item(events: Look, role: str, taken: set[str], item: Column) -> Column | None:
    """The surest column for ``role`` that the item tells."""
    if events.form.header is False:
        titles = (c for c in events.columns if is_title(c) and not c.is_time)
        column = next((c for c in titles if c.name not in taken), None) if role == "title" else None
        return column if column is not None and follows(column.text, item.text) else None
    others = set(taken)
    while (column := named(events, role, others)) is not None:
        if follows(column.text, item.text):
            return column
        others.add(column.name)
    return None


def _title_of_text(look: Look, columns: dict[str, str | None]) -> None:
    """A short description is the title where there is no other."""
    text = columns.get("text")
    if text and "title" not in columns and is_title(look.column(text)):
        columns["title"] = columns.pop("text")


def find_users(proposal: Proposal, others: list[Look]) -> None:
    values = _values(proposal, "user_id")
    for other in others:
        if other in proposal.files.values():
            continue
        key = _key(other, values, "user_id")
        columns: dict[str, str | None] = {}
        for role in OF_USERS:
            if key is not None and (column := named(other, role, {key.name})) is not None:
                columns[role] = column.name
        if ("lat" in columns) != ("lon" in columns):
            columns.pop("lat", None)
            columns.pop("lon", None)
        if key is not None and columns and other.form.header is not False:
            proposal.files["users"] = other
            proposal.columns["users"] = {"id": key.name, **columns}
            return


def _switch_off(proposal: Proposal, items: Look) -> None:
    """Columns of the items that are called as ours and hold something else."""
    columns = proposal.columns["items"]
    for own in items.columns:
        ours = next((c for c in COLUMNS["items"] if c.name == own.name), None)
        if ours is None or own.name in columns.values() or ours.name in columns:
            continue
        if ours.kind == "status" and (statuses := _statuses_of(own)):
            proposal.statuses = statuses
            continue
        fits = {
            "status": lambda c: c.text.drop_nulls().is_in(STATUSES).all(),
            "json": lambda c: c.like(r"^\s*\{"),
            "time": lambda c: c.is_time,
            "number": lambda c: c.numbers > 0.5,
            "whole": lambda c: c.whole > 0.5,
        }.get(ours.kind, lambda c: True)
        if not fits(own):
            columns[ours.name] = None


def _statuses_of(column: Column) -> dict[str, str]:
    """Its words and what they say of an item, where each is known and none ours already."""
    words = sorted(column.text.drop_nulls().unique())
    statuses = {word: status for word in words if (status := _STATUS_OF.get(letters(word)))}
    return statuses if len(statuses) == len(words) and not {*words} <= {*STATUSES} else {}


def find_words(proposal: Proposal) -> None:
    """Words for nothing, ids like 12.0, and what parts tags."""
    ids = [
        proposal.files["interactions"].column(name)
        for role, name in proposal.columns["interactions"].items()
        if role in ("user_id", "item_id") and name
    ]
    proposal.nothing = sorted({word for column in ids for word in column.words})
    proposal.whole_ids = any(column.pointed for column in ids)
    columns = proposal.columns.get("items", {})
    tags = columns.get("tags")
    if tags:
        source = proposal.files.get("items", proposal.files["interactions"])
        proposal.tag_separator = _separator(source.column(tags))


def _separator(column: Column) -> str | None:
    """What parts the tags of a cell: the sign that stands in the most cells."""
    cells = column.text.drop_nulls().head(1_000)
    if column.like(r"^\s*\["):
        return None
    counts = {sign: int(cells.str.contains(sign, literal=True).sum()) for sign in SEPARATORS}
    best = max(counts.values(), default=0)
    if not best:
        return None
    return next(sign for sign, count in counts.items() if count >= best * 0.9)
