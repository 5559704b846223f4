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
    proposal = Proposal(folder)
    looks = looks_of(folder, proposal, types)
    roles = {look.name: of_events(look) for look in looks}
    _without_orders(looks, roles)
    events = max(
        (look for look in looks if _may_be_events(look, roles[look.name])),
        key=lambda one: (_likeness(one, roles[one.name]), one.size),
        default=None,
    )
    if events is None:
        raise LoadError(_nothing_found(folder, looks, roles, proposal))
    proposal.files["interactions"], events_roles = events, roles[events.name]
    others = [look for look in looks if look is not events]
    join_similar(proposal, events, others)
    _say_events(proposal, events, events_roles)
    find_items(proposal, others)
    find_users(proposal, others)
    for other in others:
        if other not in proposal.files.values():
            proposal.unused.setdefault(other.name, "no column of it is needed")
    find_words(proposal)
    return proposal


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


def _may_be_events(look: Look, roles: dict[str, str]) -> bool:
    """Whether it has users who come again, and items, or is a log by all its names."""
    if not {"user_id", "item_id"} <= set(roles):
        return False
    is_log = look.form.header is not False and {"type", "occurred_at"} <= set(roles)
    return look.rows < MANY or is_log or not look.column(roles["user_id"]).is_unique


def _likeness(look: Look, roles: dict[str, str]) -> int:
    """How much a file is like one of interactions."""
    user, item = look.column(roles["user_id"]), look.column(roles["item_id"])
    score = 3 * ("occurred_at" in roles) + 4 * bool({"rating", "type", "count"} & set(roles))
    score += 2 * (not user.is_unique) + 2 * (not item.is_unique)
    return score + 8 * (stem(look.files[0]) == "interactions")


def _say_events(proposal: Proposal, events: Look, roles: dict[str, str]) -> None:
    columns: dict[str, str | None] = {name: roles[name] for name in ("user_id", "item_id")}
    proposal.columns["interactions"] = columns
    if plain_name(roles["user_id"]) in ORDERS:
        proposal.why["interactions"] = "no column tells who: each order counts as a user of its own"
    if time := roles.get("occurred_at"):
        _say_time(proposal, events, events.column(time))
    elif joined := of_parts(events):
        columns["occurred_at"] = joined
    elif clock := unread_time(events):
        proposal.why["default_time"] = f"{clock.name!r} has no times, or counts from its own start"
    if "occurred_at" not in columns:
        proposal.default_time = "order"
        columns.pop("occurred_at", None)
    if "type" in roles:
        _say_types(proposal, events, roles["type"])
    elif "rating" in roles:
        proposal.scale = roles["rating"], steps_of_rating(events.column(roles["rating"]))
        others = [c.name for c in events.columns if c.name not in roles.values() and is_scale(c)]
        if events.form.header is False and others:
            proposal.why["thresholds"] = f"{listed(others)} may be the rating as well: check it"
    elif "count" in roles:
        proposal.scale = roles["count"], steps_of_count(events.column(roles["count"]))
    else:
        _say_flags(proposal, events, set(roles.values()))
    used = set(roles.values())
    if proposal.default_type and "type" not in roles:
        columns |= {column.name: None for column in events.columns if column.name == "type"}
    for column in COLUMNS["interactions"]:
        if column.name in ("event_id", "metadata") and column.name not in used:
            own = next((each for each in events.columns if each.name == column.name), None)
            pattern = r"^\s*\{" if column.kind == "json" else r"^\{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}"
            if own is not None and not own.like(pattern):
                columns[column.name] = None


def _say_time(proposal: Proposal, events: Look, time: Column) -> None:
    reader, cells = TimeReader(), time.text.drop_nulls()
    reader.decide(cells, lambda: events.cells(time.name))
    if time.are_times(reader, HALF):
        proposal.columns["interactions"]["occurred_at"] = with_clock(events, time) or time.name
    elif pattern := ambiguous_pattern(cells.head(1_000)):
        proposal.columns["interactions"]["occurred_at"] = time.name
        proposal.time_format = pattern
        proposal.why["time_format"] = "no cell tells whether the day comes first: check it"
    else:
        proposal.why["default_time"] = f"{time.name!r} holds no times that are understood"


def _say_flags(proposal: Proposal, events: Look, taken: set[str]) -> None:
    """Columns of 0 and 1 that say what was done, or that nothing says it."""
    flags = [column for column in events.columns if column.name not in taken and is_flag(column)]
    kinds = {flag.name: type_of_flag(flag.name, events.types) for flag in flags}
    strongest = events.types.strongest
    wanted = {name: kind for name, kind in kinds.items() if kind in strongest}
    proposal.flags = dict(sorted(wanted.items(), key=lambda pair: strongest.index(pair[1])))
    choice = kind_of(events)
    if choice in (None, "impression", "view"):  # where a view is all there is, it is the interest
        choice = "click"
    is_interest = {*proposal.flags.values()} - {"dismiss", "unapply"}
    proposal.default_type = "impression" if is_interest else choice  # not skipped: wanted


def _say_types(proposal: Proposal, events: Look, name: str) -> None:
    words, types = _all_words(events, name), events.types
    proposal.columns["interactions"]["type"] = name
    for word in words:
        kind = verdict_of(word) if role_of(name) == "verdict" else type_of(word, types)
        if kind != word:
            proposal.types[word] = kind or guess_of(word, types)
        if kind is None:
            proposal.why[f"types.{word}"] = "a guess: what does it mean?"


def _all_words(look: Look, name: str) -> list[str]:
    """The distinct values of a column of the whole file, the most frequent first; 50 at most."""
    counted: dict[str, int] = {}
    for cells in look.cells(name):
        for word, count in cells.value_counts().iter_rows():
            if word is not None and word.strip():
                counted[word] = counted.get(word, 0) + count
    return sorted(counted, key=lambda word: -counted[word])[:50]


def _nothing_found(
    folder: Path, looks: list[Look], roles: dict[str, dict[str, str]], proposal: Proposal
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
    bad = "; ".join(f"{name}: {why}" for name, why in list(proposal.unused.items())[:3])
    over = listed(proposal.passed_over)
    passed = f"Passed over by their names: {over}." if proposal.passed_over else ""
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
