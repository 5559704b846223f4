"""Files of a folder -> what a mapping could say of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from storage.columns import COLUMNS, STATUSES, Entity
from storage.log import LoadError
from storage.mapping import Step
from storage.proposal.kinds import steps_of_count, steps_of_rating, type_of
from storage.proposal.looks import Column, Look, look
from storage.proposal.roles import is_title, named, of_events, relative_clock
from storage.reading.files import data_files, parts, stem
from storage.reading.rows import OF_ITEMS, follows
from storage.times import TimeReader, ambiguous_pattern

MOST_FILES = 60
MANY = 3  # rows, from which some user must come twice
NO_DATA = (".md", ".pdf", ".png", ".jpg", ".html", ".py", ".pl", ".sh", ".yaml", ".yml", ".info",
           ".log", ".vec", ".r", ".ipynb", ".xml")  # fmt: skip
OF_CATALOGUE = ("title", "text", "tags", "category", "price_min", "lat", "lon", "city", "owner_id")
OF_USERS = ("lat", "lon", "city")
SHORT = 60  # characters of a category, or of the tags of an item
SEPARATORS = ("|", ";", ", ", ",", "/", " ")


@dataclass
class Proposal:
    """What to write; ``why`` has comments by the place that they stand at."""

    folder: Path
    files: dict[Entity, Look] = field(default_factory=dict)
    columns: dict[Entity, dict[str, str | None]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    scale: tuple[str, list[Step]] | None = None
    default_type: str | None = None
    default_time: str | None = None
    time_format: str | None = None
    tag_separator: str | None = None
    nothing: list[str] = field(default_factory=list)
    whole_ids: bool = False
    why: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)


def propose(folder: Path) -> Proposal:
    """Look at the files of ``folder``, or at one file, and guess what they hold.

    Raises:
        LoadError: no file of them has users and items.
    """
    found = Proposal(folder)
    looks = _looks(folder, found)
    roles = {one.name: of_events(one) for one in looks}
    events = max(
        (one for one in looks if _may_be_events(one, roles[one.name])),
        key=lambda one: (_likeness(one, roles[one.name]), one.size),
        default=None,
    )
    if events is None:
        raise LoadError(_nothing_found(folder, looks, found))
    found.files["interactions"] = events
    _say_events(found, events, roles[events.name])
    others = [one for one in looks if one is not events]
    _find_items(found, others)
    _find_users(found, others)
    for one in others:
        if one not in found.files.values():
            found.unused.setdefault(one.name, "no column of it is needed")
    _words(found)
    return found


def _looks(folder: Path, found: Proposal) -> list[Look]:
    files = {folder.name: [folder]} if folder.is_file() else _data(folder)
    looks = []
    for name, several in list(files.items())[:MOST_FILES]:
        if name.lower().endswith(NO_DATA) or stem(several[0]) in ("readme", "license", "licence"):
            continue
        try:
            looks.append(look(name, several))
        except LoadError as error:
            found.unused[name] = str(error).replace(f"{several[0]}", "it", 1)[:200]
    return looks


def _data(folder: Path) -> dict[str, list[Path]]:
    """Files by their path in the folder, also those one folder further down."""
    found: dict[str, list[Path]] = {}
    inner = [one for one in sorted(folder.iterdir()) if one.is_dir() and not parts(one)]
    for place in (folder, *inner):
        for file in data_files(place):
            found[file.relative_to(folder).as_posix()] = parts(file) or [file]
    return found


def _may_be_events(one: Look, roles: dict[str, str]) -> bool:
    """Whether it has users who come again, and items."""
    if not {"user_id", "item_id"} <= set(roles):
        return False
    return one.rows < MANY or not one.column(roles["user_id"]).is_unique


def _likeness(one: Look, roles: dict[str, str]) -> int:
    """How much a file is like one of interactions."""
    user, item = one.column(roles["user_id"]), one.column(roles["item_id"])
    score = 3 * ("occurred_at" in roles) + 4 * bool({"rating", "type", "count"} & set(roles))
    score += 2 * (not user.is_unique) + 2 * (not item.is_unique)
    return score + 8 * (stem(one.files[0]) == "interactions")


def _say_events(found: Proposal, events: Look, roles: dict[str, str]) -> None:
    columns: dict[str, str | None] = {name: roles[name] for name in ("user_id", "item_id")}
    found.columns["interactions"] = columns
    if time := roles.get("occurred_at"):
        _say_time(found, events, events.column(time))
    elif clock := relative_clock(events):
        found.why["default_time"] = f"{clock.name!r} counts from a start that it does not tell"
    if "occurred_at" not in columns:
        found.default_time = "order"
        columns.pop("occurred_at", None)
    if "type" in roles:
        _say_types(found, events, roles["type"])
    elif "rating" in roles:
        found.scale = roles["rating"], steps_of_rating(events.column(roles["rating"]))
    elif "count" in roles:
        found.scale = roles["count"], steps_of_count(events.column(roles["count"]))
    else:
        found.default_type = "click"
    used = set(roles.values())
    for column in COLUMNS["interactions"]:
        if column.name in ("event_id", "metadata") and column.name not in used:
            own = next((one for one in events.columns if one.name == column.name), None)
            pattern = r"^\s*\{" if column.kind == "json" else r"^\{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}"
            if own is not None and not own.like(pattern):
                columns[column.name] = None


def _say_time(found: Proposal, events: Look, time: Column) -> None:
    reader, cells = TimeReader(), time.text.drop_nulls()
    if reader.is_open(cells):
        reader.decide(cells, lambda: events.cells(time.name))
    if time.are_times(reader):
        found.columns["interactions"]["occurred_at"] = time.name
    elif pattern := ambiguous_pattern(cells.head(1_000)):
        found.columns["interactions"]["occurred_at"] = time.name
        found.time_format = pattern
        found.why["time_format"] = "no cell tells whether the day comes first: check it"
    else:
        found.why["default_time"] = f"{time.name!r} holds no times that are understood"


def _say_types(found: Proposal, events: Look, name: str) -> None:
    words = _all_words(events, name)
    found.columns["interactions"]["type"] = name
    for word in words:
        kind = type_of(word)
        if kind != word:
            found.types[word] = kind or "click"
        if kind is None:
            found.why[f"types.{word}"] = "a guess: what does it mean?"


def _all_words(one: Look, name: str) -> list[str]:
    """The distinct values of a column of the whole file, the most frequent first; 50 at most."""
    counted: dict[str, int] = {}
    for cells in one.cells(name):
        for word, count in cells.value_counts().iter_rows():
            if word is not None and word.strip():
                counted[word] = counted.get(word, 0) + count
    return sorted(counted, key=lambda word: -counted[word])[:50]


def _values(found: Proposal, role: str) -> pl.Series:
    name = found.columns["interactions"][role]
    assert name is not None
    return found.files["interactions"].column(name).text.drop_nulls().unique()


def _shared(column: Column, values: pl.Series) -> int:
    """How many of the interactions' ids stand in a column."""
    there = column.text.drop_nulls().unique().str.replace(r"\.0$", "")
    return int(values.str.replace(r"\.0$", "").is_in(there.implode()).sum())


def _find_items(found: Proposal, others: list[Look]) -> None:
    values, best = _values(found, "item_id"), 0
    for one in others:
        key = _key(one, values, "item_id")
        if key is None:
            continue
        columns = _catalogue(one, key)
        score = 1_000 * (len(columns) > 0) + _shared(key, values) + len(columns)
        if columns and score > best:
            best = score
            found.files["items"] = one
            found.columns["items"] = {"id": key.name, **columns}
    events = found.files["interactions"]
    if "items" not in found.files and not events.inner:
        columns = _within(found, events)
        if columns:
            found.columns["items"] = dict(columns)
            found.why["items"] = f"they stand in {events.name}, in the rows of their interactions"
    elif "items" in found.files:
        _switch_off(found, found.files["items"])


def _key(one: Look, values: pl.Series, role: str) -> Column | None:
    """The column with the ids of the interactions: the one that shares most, or is called so."""
    unique = [column for column in one.columns if column.is_unique]
    shared = max(unique, key=lambda column: _shared(column, values), default=None)
    if shared is not None and _shared(shared, values):
        return shared
    if one.form.header is False:
        return None
    by_name = named(one, role, set())
    return by_name if by_name is not None and by_name.is_unique else None


def _catalogue(one: Look, key: Column) -> dict[str, str | None]:
    """Role -> column of a file of items."""
    taken = {key.name}
    columns: dict[str, str | None] = {}
    for role in OF_CATALOGUE if one.form.header is not False else ():
        if (column := named(one, role, taken)) is not None:
            columns[role] = column.name
            taken.add(column.name)
    if ("lat" in columns) != ("lon" in columns):
        columns.pop("lat", None)
        columns.pop("lon", None)
    if one.form.header is False:
        texts = [c for c in one.columns if c is not key and is_title(c) and not c.is_time]
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


def _within(found: Proposal, events: Look) -> dict[str, str | None]:
    """Columns of the interactions' file that are the same in all rows of an item."""
    item = found.columns["interactions"]["item_id"]
    taken = {name for name in found.columns["interactions"].values() if name}
    taken |= {found.scale[0]} if found.scale else set()
    assert item is not None
    columns: dict[str, str | None] = {}
    for role in OF_ITEMS:
        column = named(events, role, taken) if events.form.header is not False else None
        if events.form.header is False and role == "title":
            column = next(
                (
                    c
                    for c in events.columns
                    if c.name not in taken and is_title(c) and not c.is_time
                ),
                None,
            )
        if column is not None and follows(column.text, events.column(item).text):
            columns[role] = column.name
            taken.add(column.name)
    if "title" not in columns and is_title(events.column(item)) and events.column(item).codes < 0.5:
        columns["title"] = item
    return columns


def _find_users(found: Proposal, others: list[Look]) -> None:
    values = _values(found, "user_id")
    for one in others:
        if one in found.files.values():
            continue
        key = _key(one, values, "user_id")
        columns: dict[str, str | None] = {}
        for role in OF_USERS:
            if key is not None and (column := named(one, role, {key.name})) is not None:
                columns[role] = column.name
        if ("lat" in columns) != ("lon" in columns):
            columns.pop("lat", None)
            columns.pop("lon", None)
        if key is not None and columns and one.form.header is not False:
            found.files["users"] = one
            found.columns["users"] = {"id": key.name, **columns}
            return


def _switch_off(found: Proposal, items: Look) -> None:
    """Columns of the items that are called as ours and hold something else."""
    columns = found.columns["items"]
    for own in items.columns:
        ours = next((c for c in COLUMNS["items"] if c.name == own.name), None)
        if ours is None or own.name in columns.values() or ours.name in columns:
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


def _words(found: Proposal) -> None:
    """Words for nothing, ids like 12.0, and what parts tags."""
    ids = [
        found.files["interactions"].column(name)
        for role, name in found.columns["interactions"].items()
        if role in ("user_id", "item_id") and name
    ]
    found.nothing = sorted({word for column in ids for word in column.words})
    found.whole_ids = any(column.pointed for column in ids)
    columns = found.columns.get("items", {})
    tags = columns.get("tags")
    if tags:
        source = found.files.get("items", found.files["interactions"])
        found.tag_separator = _separator(source.column(tags))


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


def _nothing_found(folder: Path, looks: list[Look], found: Proposal) -> str:
    from storage.reading.files import listed

    seen = "; ".join(
        f"{one.name} has {listed([column.name for column in one.columns][:8])}" for one in looks[:5]
    )
    bad = "; ".join(f"{name}: {why}" for name, why in list(found.unused.items())[:3])
    said = " ".join(part for part in (f"{seen}." if seen else "", bad) if part)
    return (
        f"{folder}: no file tells who did something with what: a column of users and one of items "
        f"are needed. {said[:700]}"
    )
