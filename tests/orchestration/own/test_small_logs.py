"""Small logs of odd forms: a run ends well, or with one sentence that says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from storage.loading.load import load
from storage.loading.log import Log
from storage.postgres.database import connect
from storage.settings import Settings

pytestmark = pytest.mark.usefixtures("without_plots")  # one that cannot be drawn fails no run

Train = Callable[[Log], tuple[int, str]]
YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


@pytest.fixture
def train(small: Settings, capsys: pytest.CaptureFixture) -> Train:
    """Load a log into an installation of its own and train: exit status, and what was printed."""
    from orchestration.launch import main

    def trained(log: Log) -> tuple[int, str]:
        with connect(small.database_url or "") as conn:
            load(conn, log)
        return main(), capsys.readouterr().out

    return trained


def log_of(
    users: int = 6,
    items: int = 8,
    *,
    types: tuple[str, ...] = ("view", "click", "apply"),
    each: int = 5,
    days: float = 20,
    until: datetime = YESTERDAY,
) -> Log:
    """Each user does ``each`` things with items in turn, spread over ``days``."""
    rows = [
        (f"u{user}", f"i{(user + number) % items}", number)
        for user in range(users)
        for number in range(each)
    ]
    count = len(rows)
    interactions = pl.DataFrame(
        {
            "event_id": [f"{row:032x}" for row in range(1, count + 1)],
            "user_id": [user for user, _, _ in rows],
            "item_id": [item for _, item, _ in rows],
            "type": [types[number % len(types)] for _, _, number in rows],
            "occurred_at": [until - timedelta(days=days * row / count) for row in range(count)],
        }
    )
    ids = pl.DataFrame({"id": [f"i{item}" for item in range(items)]})
    return Log(
        interactions, users=pl.DataFrame({"id": [f"u{user}" for user in range(users)]}), items=ids
    )


def searches() -> Log:
    """Nobody does anything with an item."""
    log = log_of(types=("search",))
    without = log.interactions.with_columns(item_id=pl.lit(None, pl.String))
    return Log(without, users=log.users)


LIVE = "Version 1: live, ndcg_at_10 "
NO_LIKES = "There is nothing to learn from yet: no interaction says that a user likes an item"
NO_ITEMS = "There are no items: send or load"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        pytest.param(log_of(1, types=("view",), each=8), LIVE, id="one user, one type"),
        pytest.param(log_of(40, 1, days=0), LIVE, id="one item, one moment"),
        pytest.param(log_of(1, 1, each=1), LIVE, id="one row"),
        pytest.param(log_of(20, 5, each=5), LIVE, id="everybody likes everything"),
        pytest.param(log_of(until=YESTERDAY - timedelta(days=900)), LIVE, id="no one lately"),
        pytest.param(log_of(types=("dismiss", "impression")), NO_LIKES, id="no likes"),
        pytest.param(searches(), NO_ITEMS, id="only searches"),
    ],
)
def test_a_small_log(train: Train, log: Log, said: str) -> None:
    status, told = train(log)
    *_, last = told.splitlines()
    assert last.startswith(said if said == LIVE else f"Failed: {said}")
    assert (status == 0) == (said == LIVE)
