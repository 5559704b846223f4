"""The live feed held against a test set of one's own: its files, the lists, the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl

from feedwright.errors import FeedwrightError
from feedwright.local.feed_calls import call
from models.evaluation.metrics.list_quality import Interval, bootstrap
from models.evaluation.own_test import metrics_of
from storage.loading.values.columns import MAX_ID_BYTES
from storage.settings import Settings

STAGES = ("model", "ranker", "feed")
METRICS = ("ndcg", "recall")
COLUMNS = ("user_id", "item_id")
BATCH_USERS, BATCH_ITEMS = 50, 10_000
"""Of a call, at most; the server answers for as many users as it has time for."""
SHOWN, SHOWN_CHARACTERS = 3, 40
USERS_FORM = "Give a text file in UTF-8 with one user id a line."
RELEVANT_FORM = "Give a CSV file in UTF-8 whose first line is: user_id,item_id"


@dataclass(frozen=True)
class OwnTest:
    """Who is judged, and by what.

    Attributes:
        relevant: items by user, of those users who have some.
        given: distinct users of the file of users.
        others: users who have relevant items, and whom that file does not name.
    """

    relevant: dict[str, set[str]]
    given: int
    others: int

    @property
    def items(self) -> set[str]:
        return set[str]().union(*self.relevant.values())


@dataclass(frozen=True)
class Result:
    """How the live feed did.

    Attributes:
        metrics: by stage and metric, the mean over the judged users and its 95 % interval.
        variants: how many users each ranked for.
        fallbacks: how many users no model ranked for, by reason.
        versions: of the models that ranked.
        excluded: how many relevant items of users no list of theirs may show, by rule.
        unknown_items: relevant items that are not in the catalogue.
    """

    test: OwnTest
    k: int
    metrics: dict[tuple[str, str], Interval]
    variants: Counter[str]
    fallbacks: Counter[str]
    versions: list[str]
    excluded: Counter[str]
    unknown_items: int


def read_test(users: Path, relevant: Path) -> OwnTest:
    """
    Raises:
        FeedwrightError: a file is not there or not as it should be, or the two have no user in
            common.
    """
    given = _users(users)
    pairs = _relevant(relevant)
    of_given = pairs.filter(pl.col("user_id").is_in(given))
    by_user = dict(of_given.group_by("user_id").agg("item_id").iter_rows())
    count = pairs["user_id"].n_unique()
    if not by_user:
        raise FeedwrightError(
            f"--relevant: {relevant} has no row of a user of {users}. It has rows of "
            f"{_some(pairs['user_id'].unique(maintain_order=True).to_list())}; the users are "
            f"{_some(given)}.",
            "Name the same users in both files.",
        )
    for user, items in by_user.items():
        if len(items) > BATCH_ITEMS:
            raise FeedwrightError(
                f"--relevant: {relevant} has {len(items):,} items of user {_shown(user)}.",
                f"Give at most {BATCH_ITEMS:,} a user.",
            )
    ordered = {user: set(by_user[user]) for user in given if user in by_user}
    return OwnTest(ordered, len(given), count - len(ordered))


def judge(
    settings: Settings, test: OwnTest, k: int, progress: Callable[[int], None] = lambda _: None
) -> Result:
    """
    Args:
        progress: called with how many users more are done.

    Raises:
        FeedwrightError: the server is down or refuses, or has none of the items.
    """
    staged = _staged(settings, test, k, progress)
    answers = [staged[user] for user in test.relevant]
    excluded = [(entry["item_id"], entry["rule"]) for user in answers for entry in user["excluded"]]
    unknown = {item for item, rule in excluded if rule == "unknown_item"}
    if unknown == test.items:
        raise FeedwrightError(
            f"--relevant: not one item_id is in the catalogue of {settings.feed_address}: "
            f"{_some(sorted(unknown))}.",
            "Give the ids of items as they were loaded.",
        )
    relevant = list(test.relevant.values())
    metrics = {}
    for stage in STAGES:
        per_user = metrics_of([user[stage] for user in answers], relevant, k)
        for metric in METRICS:
            metrics[stage, metric] = bootstrap(per_user[metric])
    return Result(
        test,
        k,
        metrics,
        Counter(user["variant"] for user in answers),
        Counter(user["fallback_reason"] for user in answers if user["fallback_reason"]),
        sorted({user["model_version"] for user in answers if user["model_version"]}),
        Counter(rule for _, rule in excluded),
        len(unknown),
    )


def _staged(
    settings: Settings, test: OwnTest, k: int, progress: Callable[[int], None]
) -> dict[str, dict[str, Any]]:
    """What the server has for each user after each stage, see ``POST /api/v1/admin/stages``."""
    waiting = list(test.relevant.items())
    staged: dict[str, dict[str, Any]] = {}
    while waiting:
        items = accumulate(len(items) for _, items in waiting[:BATCH_USERS])
        batch = waiting[: max(1, sum(count <= BATCH_ITEMS for count in items))]
        users = [{"user_id": user, "item_ids": sorted(items)} for user, items in batch]
        asked = {"users": users, "limit": k}
        answer = call(
            settings, "POST", "/api/v1/admin/stages", scope="admin", seconds=30.0, json=asked
        )
        staged |= {entry["user_id"]: entry for entry in answer["users"]}
        waiting = waiting[len(answer["users"]) :]
        progress(len(answer["users"]))
    return staged


def _users(path: Path) -> list[str]:
    """Distinct ids in the order of the file."""
    lines = [line.strip() for line in _text(path, "--users", USERS_FORM).splitlines()]
    if lines[:1] == ["user_id"]:
        lines[0] = ""
    for number, user in enumerate(lines, 1):
        _check_id(user, f"--users: line {number} of {path}")
    ids = list(dict.fromkeys(user for user in lines if user))
    if not ids:
        raise FeedwrightError(f"--users: {path} names no user.", USERS_FORM)
    return ids


def _relevant(path: Path) -> pl.DataFrame:
    """user_id, item_id: distinct rows in the order of the file."""
    content = _text(path, "--relevant", RELEVANT_FORM).encode()
    try:
        table = pl.read_csv(content, infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise FeedwrightError(f"--relevant: {path} is empty.", RELEVANT_FORM) from error
    except pl.exceptions.PolarsError as error:
        why = " ".join(str(error).partition("\n")[0].split())[:200]
        raise FeedwrightError(f"--relevant: {path} is no CSV: {why}.", RELEVANT_FORM) from error
    table = table.rename(str.strip)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise FeedwrightError(
            f"--relevant: {path} has no column {' and no '.join(missing)}, but "
            f"{_some(table.columns)}.",
            RELEVANT_FORM,
        )
    pairs = table.select(pl.col(COLUMNS).str.strip_chars())
    for name in COLUMNS:
        cells = pairs[name].fill_null("")
        wrong = (cells == "") | (cells.str.len_bytes() > MAX_ID_BYTES) | cells.str.contains("\0")
        if (at := wrong.arg_max()) is not None and wrong[at]:
            where = f"--relevant: row {at + 1} below the header of {path}"
            if not cells[at]:
                raise FeedwrightError(f"{where} has no {name}.", "Fill it in, or leave it out.")
            _check_id(cells[at], where)
    if not len(pairs):
        raise FeedwrightError(f"--relevant: {path} has no row below its header.", RELEVANT_FORM)
    return pairs.unique(maintain_order=True)


def _text(path: Path, option: str, form: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FeedwrightError(f"{option}: there is no file {path}.", form) from error
    except IsADirectoryError as error:
        raise FeedwrightError(f"{option}: {path} is a folder.", form) from error
    except UnicodeDecodeError as error:
        raise FeedwrightError(f"{option}: {path} is not text in UTF-8.", form) from error


def _check_id(id: str, where: str) -> None:
    """
    Raises:
        FeedwrightError: no user or item can have it.
    """
    if len(id.encode()) > MAX_ID_BYTES or "\0" in id:
        raise FeedwrightError(
            f"{where}: {_shown(id)} cannot be an id.",
            f"Ids have at most {MAX_ID_BYTES} bytes in UTF-8, and no NUL character.",
        )


def _some(ids: Sequence[str]) -> str:
    more = ["…"] if len(ids) > SHOWN else []
    return ", ".join([*map(_shown, ids[:SHOWN]), *more])


def _shown(id: str) -> str:
    return repr(id if len(id) <= SHOWN_CHARACTERS else f"{id[:SHOWN_CHARACTERS]}…")
