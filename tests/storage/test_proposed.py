"""``map`` never takes a refusal for interest, and finds the times."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from storage.loading.log import LoadError
from storage.loading.mapping import Mapping, read_mapping
from storage.loading.proposal.proposal import propose
from storage.loading.proposal.written import written
from storage.loading.readers import read_log
from storage.loading.values.validation import validate


def by_proposal(folder: Path) -> tuple[Mapping, pl.DataFrame]:
    mapping = read_mapping(written(propose(folder)), "the proposal")
    return mapping, validate(read_log(folder, mapping=mapping), "interactions").good


def table(header: str, cells: list[str], rows: int = 60) -> str:
    lines = (f"u{n % 6},i{n % 5},{cells[n % len(cells)]}" for n in range(rows))
    return "\n".join([f"user_id,item_id,{header}", *lines, ""])


@pytest.mark.parametrize(
    ("name", "cells", "types"),
    [
        ("rating", ["1", "-1"], ["like", "dismiss"]),
        ("rating", ["1", "0", "-1"], ["like", "view", "dismiss"]),
        ("vote", ["1", "-1"], ["like", "dismiss"]),
        ("vote", ["up", "down"], ["like", "dismiss"]),
        ("feedback", ["positive", "negative", "neutral"], ["like", "dismiss", "impression"]),
        ("label", ["1", "-1"], ["click", "dismiss"]),
        ("label", ["1.0", "0.0"], ["click", "impression"]),
        ("type", ["like", "unlike"], ["like", "dismiss"]),
        ("type", ["follow", "unfollow", "Blocked"], ["save", "dismiss", "dismiss"]),
        ("type", ["order", "cancelled"], ["apply", "unapply"]),
        ("type", ["buy", "UserUndid", "OrderRejected"], ["apply", "dismiss", "dismiss"]),
        ("type", ["True", "False"], ["click", "impression"]),
        ("type", ["", ""], ["click", "click"]),
        ("watch_ratio", [".2", ".9", "2.2"], ["view", "click", "like"]),
    ],
)
def test_types_of_words_and_numbers(
    tmp_path: Path, name: str, cells: list[str], types: list[str]
) -> None:
    (tmp_path / "log.csv").write_text(
        table(f"{name},timestamp", [f"{cell},{1_700_000_000 + n}" for n, cell in enumerate(cells)])
    )
    _, good = by_proposal(tmp_path)
    assert good["type"].to_list() == (types * 60)[:60]


@pytest.mark.parametrize("name", ["purchased_at", "clicked_at", "saved_on", "whenever", "t"])
def test_the_only_column_of_times_is_the_time(tmp_path: Path, name: str) -> None:
    times = [f"{2_000 + n},2026-01-{n + 1:02} 10:00:00" for n in range(28)]
    (tmp_path / "log.csv").write_text(table(f"size,{name}", times))
    assert by_proposal(tmp_path)[0].columns("interactions")["occurred_at"] == name


@pytest.mark.parametrize("name", ["birthday", "release_date", "user_since"])
def test_times_of_others_are_not_the_interactions(tmp_path: Path, name: str) -> None:
    times = [f"2026-01-{n + 1:02} 10:00:00" for n in range(28)]
    (tmp_path / "log.csv").write_text(table(name, times))
    assert by_proposal(tmp_path)[0].default_time == "order"


@pytest.mark.parametrize(
    ("names", "read", "kind"),
    [
        (("likes.csv", "dislikes.csv"), "likes.csv", "like"),
        (("train_purchases.csv", "train_sessions.csv"), "train_purchases.csv", "apply"),
        (("day1.csv", "day2.csv"), "day*.csv", "click"),
        (("dislikes.csv",), "dislikes.csv", "dismiss"),
    ],
)
def test_files_whose_names_tell_other_events_are_not_joined(
    tmp_path: Path, names: tuple[str, ...], read: str, kind: str
) -> None:
    for rows, name in zip((60, 50), names, strict=False):
        (tmp_path / name).write_text(table("timestamp", ["1700000000", "1700000001"], rows))
    mapping, good = by_proposal(tmp_path)
    files = mapping.files["interactions"]
    assert files is not None
    assert (files.name, good["type"].unique().to_list()) == (read, [kind])


def test_the_column_whose_words_are_known_tells_the_types(tmp_path: Path) -> None:
    words = ["Product Viewed", "Product Added", "Order Completed"]
    (tmp_path / "log.csv").write_text(
        table("type,event,timestamp", [f"track,{word},1700000000" for word in words])
    )
    mapping, good = by_proposal(tmp_path)
    assert mapping.columns("interactions")["type"] == "event"
    assert good["type"].to_list()[:3] == ["view", "save", "apply"]


def test_single_quotes_around_cells(tmp_path: Path) -> None:
    cells = ["'like','2026-01-01 10:00:00','it''s, well'", "'view','2026-01-02 10:00:00','x'"]
    text = table("'type','occurred_at','city'", cells, 6)
    (tmp_path / "interactions.csv").write_text(text)
    good = validate(read_log(tmp_path), "interactions").good
    assert good["type"].to_list() == ["like", "view"] * 3


def test_what_is_missing_of_a_log_without_known_times_is_named(tmp_path: Path) -> None:
    rows = "".join(f"u{n},i{n},like,{n + 1}. brumaire an 3\n" for n in range(9))
    (tmp_path / "interactions.csv").write_text("user_id,item_id,type,occurred_at\n" + rows)
    with pytest.raises(LoadError, match="no time in 'occurred_at' is understood"):
        propose(tmp_path)


@pytest.mark.parametrize(
    ("header", "item", "title"),
    [
        (
            "Name,Email,Created at,Lineitem name,Lineitem sku,Billing Name",
            "Lineitem sku",
            "Lineitem name",
        ),
        (
            "order_id,email,order_date,item_name,item_sku,billing_first_name",
            "item_sku",
            "item_name",
        ),
        ("order_id,customer_id,order_date,item_id,quantity,shipping_name", "item_id", "item_id"),
    ],
)
def test_names_of_people_are_no_titles(tmp_path: Path, header: str, item: str, title: str) -> None:
    rows = (
        f"#{1_000 + n},a{n % 6}@x.org,2026-01-{n % 28 + 1:02},Thing {n % 5},SKU-{n % 5},Ann {n % 5}"
        for n in range(30)
    )
    (tmp_path / "orders_export.csv").write_text("\n".join([header, *rows, ""]))
    mapping, _ = by_proposal(tmp_path)
    assert mapping.columns("interactions")["item_id"] == item
    assert mapping.columns("items").get("title") == title


@pytest.mark.parametrize("by", [" ", ", "])
def test_a_date_that_no_cell_settles_is_a_question(tmp_path: Path, by: str) -> None:
    times = [f'"{n % 12 + 1}/{n % 9 + 1}/2024{by}14:13:20"' for n in range(60)]
    (tmp_path / "log.csv").write_text(table("time", times))
    mapping, good = by_proposal(tmp_path)
    assert (mapping.time_format, len(good)) == (f"%m/%d/%Y{by}%H:%M:%S%.f", 60)


MOMENT = "2026-01-{day:02} 10:00:00"
STRIPE = "id,Status,Customer ID,Created (UTC),product_id (metadata)"
LINES = "id,item_id,order_id,product_id,customer_id,created_at"


def numbered(folder: Path, name: str, header: str, row: str) -> None:
    """60 rows: in ``row`` n counts them, u is one of 6, i one of 5, w one of three words."""
    words = ("page_view", "signup", "purchase")
    cells = (
        row.format(n=n, u=n % 6, i=n % 5, half=n // 2, w=words[n % 3],
                   at=MOMENT.format(day=n % 28 + 1))
        for n in range(60)
    )  # fmt: skip
    (folder / name).write_text("\n".join([header, *cells, ""]))


@pytest.mark.parametrize(
    ("header", "row", "user", "item"),
    [
        ("user_id,event,timestamp,url", "u{u},{w},{at},/p/{i}", "user_id", "url"),
        (STRIPE, "ch_{n},Paid{i},cus_{u},{at},p{i}", "Customer ID", "product_id (metadata)"),
        (LINES, "{n},{n}9,{half},{i},{u},{at}", "customer_id", "product_id"),
        ("order_id,product_id,at", "{half},{i},{at}", "order_id", "product_id"),
        ("author,subreddit,created", "bob{u},s{i},{at}", "author", "subreddit"),
    ],
)
def test_users_and_items_are_no_words_states_or_numbers_of_rows(
    tmp_path: Path, header: str, row: str, user: str, item: str
) -> None:
    numbered(tmp_path, "log.csv", header, row)
    columns = by_proposal(tmp_path)[0].columns("interactions")
    assert (columns["user_id"], columns["item_id"]) == (user, item)
    assert ("each order counts as a user" in written(propose(tmp_path))) == (user == "order_id")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("uuid,event,timestamp,distinct_id", "{n:08x}-0000-4000-8000-000000000000,{w},{at},u{u}"),
        ("Date,Name,Year,URI,Rating", "{at},Film {i},200{i},https://x.org/{i},{u}"),
        ("Book Id,Title,Author,ISBN,My Rating", "{n},Book {n},Ann {i},12345{n},{u}"),
        ("product_id,year,store,qty", "{i},202{u},{u},{n}"),
        ("header,title,channel,time", "Films,Watched {i},Channel {u},{at}"),
    ],
)
def test_without_users_or_items_none_are_made_up(tmp_path: Path, header: str, row: str) -> None:
    numbered(tmp_path, "log.csv", header, row)
    with pytest.raises(LoadError, match="a column of users and one of items are needed"):
        propose(tmp_path)


def test_orders_are_no_users_where_another_file_tells_whose_they_are(tmp_path: Path) -> None:
    numbered(tmp_path, "lines.csv", "order_id,product_id", "{half},{i}")
    numbered(tmp_path, "orders.csv", "order_id,user_id,made_at", "{n},{u},{at}")
    with pytest.raises(LoadError, match="a column of users and one of items are needed"):
        propose(tmp_path)


@pytest.mark.parametrize(("flag", "rest"), [("disliked", "click"), ("liked", "impression")])
def test_beside_refusals_alone_the_others_are_interest(
    tmp_path: Path, flag: str, rest: str
) -> None:
    numbered(tmp_path, "log.csv", f"user_id,item_id,{flag},ts", "{u},{i},0,{at}")
    assert by_proposal(tmp_path)[0].default_type == rest


def test_words_for_the_status_of_items_are_proposed(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(table("type,occurred_at", ["like,2026-01-02"]))
    words = ["Active", "deleted", "inactive"]
    lines = (f"i{n},Thing {n},{words[n % 3]}" for n in range(5))
    (tmp_path / "items.csv").write_text("\n".join(["id,title,status", *lines, ""]))
    mapping = read_mapping(written(propose(tmp_path)), "the proposal")
    assert mapping.statuses == {"Active": "published", "deleted": "removed", "inactive": "draft"}
    items = validate(read_log(tmp_path, mapping=mapping), "items").good
    assert items["status"].to_list() == ["published", "removed", "draft", "published", "removed"]
