"""Files of a folder -> what a mapping could say of them."""

from __future__ import annotations

from pathlib import Path

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from storage.loading.log import LoadError
from storage.loading.names import plain_name, role_of, type_of, type_of_flag
from storage.loading.proposal.catalogue import find_items, find_users, find_words
from storage.loading.proposal.clocks import of_parts, with_clock
from storage.loading.proposal.draft import Proposal
from storage.loading.proposal.folders import join_similar, kind_of, looks_of
from storage.loading.proposal.kinds import guess_of, steps_of_count, steps_of_rating, verdict_of
from storage.loading.proposal.looks import HALF, Column, Look
from storage.loading.proposal.roles import ORDERS, is_flag, is_scale, named, of_events, unread_time
from storage.loading.reading.files import listed, stem
from storage.loading.values.columns import COLUMNS
from storage.loading.values.times import TimeReader, ambiguous_pattern

MANY = 3  # rows, from which some user must come twice


def propose(folder: Path, types: InteractionTypes = DEFAULT_TYPES) -> Proposal:
    """Look at the files of ``folder``, or at one file, and guess what they hold.

    Raises:
        LoadError: no file of them has users and items.
    """
    found = Proposal(folder)
    looks = looks_of(folder, found, types)
    roles = {look.name: of_events(look) for look in looks}
    _without_orders(looks, roles)
    events = max(
        (look for look in looks if _may_be_events(look, roles[look.name])),
        key=lambda one: (_likeness(one, roles[one.name]), one.size),
        default=None,
    )
    if events is None:
        raise LoadError(_nothing_found(folder, looks, roles, found))
    found.files["interactions"], events_roles = events, roles[events.name]
    others = [look for look in looks if look is not events]
    join_similar(found, events, others)
    _say_events(found, events, events_roles)
    find_items(found, others)
    find_users(found, others)
    for other in others:
        if other not in found.files.values():
            found.unused.setdefault(other.name, "no column of it is needed")
    find_words(found)
    return found


def _without_orders(looks: list[Look], roles: dict[str, dict[str, str]]) -> None:
    """Orders are no users where another file says who made them."""
    for look in looks:
        order = roles[look.name].get("user_id", "")
        if plain_name(order) in ORDERS and any(
            plain_name(order) in (column.plain for column in other.columns)
            and named(other, "user_id", set())
            for other in looks
            if other is not look
        ):
            del roles[look.name]["user_id"]


def _may_be_events(one: Look, roles: dict[str, str]) -> bool:
    """Whether it has users who come again, and items, or is a log by all its names."""
    if not {"user_id", "item_id"} <= set(roles):
        return False
    is_log = one.form.header is not False and {"type", "occurred_at"} <= set(roles)
    return one.rows < MANY or is_log or not one.column(roles["user_id"]).is_unique


def _likeness(one: Look, roles: dict[str, str]) -> int:
    """How much a file is like one of interactions."""
    user, item = one.column(roles["user_id"]), one.column(roles["item_id"])
    score = 3 * ("occurred_at" in roles) + 4 * bool({"rating", "type", "count"} & set(roles))
    score += 2 * (not user.is_unique) + 2 * (not item.is_unique)
    return score + 8 * (stem(one.files[0]) == "interactions")


def _say_events(found: Proposal, events: Look, roles: dict[str, str]) -> None:
    columns: dict[str, str | None] = {name: roles[name] for name in ("user_id", "item_id")}
    found.columns["interactions"] = columns
    if plain_name(roles["user_id"]) in ORDERS:
        found.why["interactions"] = "no column tells who: each order counts as a user of its own"
    if time := roles.get("occurred_at"):
        _say_time(found, events, events.column(time))
    elif joined := of_parts(events):
        columns["occurred_at"] = joined
    elif clock := unread_time(events):
        found.why["default_time"] = f"{clock.name!r} has no times, or counts from its own start"
    if "occurred_at" not in columns:
        found.default_time = "order"
        columns.pop("occurred_at", None)
    if "type" in roles:
        _say_types(found, events, roles["type"])
    elif "rating" in roles:
        found.scale = roles["rating"], steps_of_rating(events.column(roles["rating"]))
        others = [c.name for c in events.columns if c.name not in roles.values() and is_scale(c)]
        if events.form.header is False and others:
            found.why["thresholds"] = f"{listed(others)} may be the rating as well: check it"
    elif "count" in roles:
        found.scale = roles["count"], steps_of_count(events.column(roles["count"]))
    else:
        _say_flags(found, events, set(roles.values()))
    used = set(roles.values())
    if found.default_type and "type" not in roles:
        columns |= {column.name: None for column in events.columns if column.name == "type"}
    for column in COLUMNS["interactions"]:
        if column.name in ("event_id", "metadata") and column.name not in used:
            own = next((one for one in events.columns if one.name == column.name), None)
            pattern = r"^\s*\{" if column.kind == "json" else r"^\{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}"
            if own is not None and not own.like(pattern):
                columns[column.name] = None


def _say_time(found: Proposal, events: Look, time: Column) -> None:
    reader, cells = TimeReader(), time.text.drop_nulls()
    reader.decide(cells, lambda: events.cells(time.name))
    if time.are_times(reader, HALF):
        found.columns["interactions"]["occurred_at"] = with_clock(events, time) or time.name
    elif pattern := ambiguous_pattern(cells.head(1_000)):
        found.columns["interactions"]["occurred_at"] = time.name
        found.time_format = pattern
        found.why["time_format"] = "no cell tells whether the day comes first: check it"
    else:
        found.why["default_time"] = f"{time.name!r} holds no times that are understood"


def _say_flags(found: Proposal, events: Look, taken: set[str]) -> None:
    """Columns of 0 and 1 that say what was done, or that nothing says it."""
    flags = [column for column in events.columns if column.name not in taken and is_flag(column)]
    kinds = {flag.name: type_of_flag(flag.name, events.types) for flag in flags}
    strongest = events.types.strongest
    known = {name: kind for name, kind in kinds.items() if kind in strongest}
    found.flags = dict(sorted(known.items(), key=lambda pair: strongest.index(pair[1])))
    choice = kind_of(events)
    if choice in (None, "impression", "view"):  # where a view is all there is, it is the interest
        choice = "click"
    is_interest = {*found.flags.values()} - {"dismiss", "unapply"}
    found.default_type = "impression" if is_interest else choice  # what was not skipped was wanted


def _say_types(found: Proposal, events: Look, name: str) -> None:
    words, types = _all_words(events, name), events.types
    found.columns["interactions"]["type"] = name
    for word in words:
        kind = verdict_of(word) if role_of(name) == "verdict" else type_of(word, types)
        if kind != word:
            found.types[word] = kind or guess_of(word, types)
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


def _nothing_found(
    folder: Path, looks: list[Look], roles: dict[str, dict[str, str]], found: Proposal
) -> str:
    near = next((look for look in looks if {"user_id", "item_id"} <= set(roles[look.name])), None)
    if near is not None:
        there, clock = roles[near.name], unread_time(near)
        time = f"no time in {clock.name!r} is understood" if clock else "no column tells a time"
        return (
            f"{folder}: {near.name} has users ({there['user_id']}) and items ({there['item_id']}), "
            "but no user comes twice, and "
            f"{'no column tells a type' if 'occurred_at' in there else time}: if it is a log, "
            "write a mapping that says so (docs/loading.md: time_format, default_type)."
        )
    seen = "; ".join(
        f"{look.name} has {listed([column.name for column in look.columns][:8])}"
        for look in looks[:5]
    )
    bad = "; ".join(f"{name}: {why}" for name, why in list(found.unused.items())[:3])
    passed = (
        f"Passed over by their names: {listed(found.passed_over)}." if found.passed_over else ""
    )
    description = " ".join(part for part in (f"{seen}." if seen else "", bad, passed) if part)
    items = [look for look in looks if "item_id" in roles[look.name]]
    lacks = (
        f"no column of users was found beside the items ({roles[items[0].name]['item_id'][:60]} "
        f"of {items[0].name[:60]}); "
        if items and not any("user_id" in role for role in roles.values())
        else ""
    )
    return (
        f"{folder}: no file tells who did something with what: {lacks}"
        f"a column of users and one of items are needed. {description[:600]}"
    )
