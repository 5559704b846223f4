"""The benchmark of quality on tiny data of every form, and protocols that keep the future out of
what is learnt from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from benchmarks import quality
from benchmarks.parts import quality_data, quality_lists
from benchmarks.parts.quality_data import DATA, windows
from benchmarks.parts.quality_lists import STAGES
from models.profile.schema import Profile
from models.recommenders.judging import TestSet
from tests.benchmarks.test_benchmarks import rows_of, run

USERS, ITEMS, LIKED = 60, 40, 12


def liked() -> list[list[int]]:
    """Of each user the items, in order; half of the users like even items, half odd ones, and all
    go up from one to the next."""
    rng = np.random.default_rng(0)
    return [
        sorted(2 * rng.choice(ITEMS // 2, LIKED, replace=False) + user % 2) for user in range(USERS)
    ]


def movielens(folder: Path) -> Path:
    rows = [
        f"{user},{item},{1 + item % 5},{900_000_000 + 50_000 * user + 100 * place}"
        for user, items in enumerate(liked())
        for place, item in enumerate(items)
    ]
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *rows]))
    films = [f"{item},Film {item} (2000),{['Drama', 'Comedy'][item % 2]}" for item in range(ITEMS)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *films]))
    return folder


def pairs(folder: Path) -> Path:
    for name, part in (("train", slice(0, 8)), ("test", slice(8, None))):
        matrix = sparse.lil_array((USERS, ITEMS), dtype=np.float32)
        for user, items in enumerate(liked()):
            matrix[user, items[part]] = 1
        sparse.save_npz(folder / f"{name}.npz", matrix.tocsr())
    return folder


def lines(folder: Path) -> Path:
    text = "\n".join(" ".join(map(str, [user, *items])) for user, items in enumerate(liked()))
    (folder / "sequences.txt").write_text(text)
    attributes = {str(item): [item % 2] for item in range(ITEMS)}
    (folder / "item_attributes.json").write_text(json.dumps(attributes))
    return folder


def one_file(folder: Path) -> Path:
    return lines(folder) / "sequences.txt"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few users are enough for a ranker, and fewer get a feed than are judged."""
    profile: Profile = quality_data.PROFILE
    ranker = profile.ranker.model_copy(update={"min_users": 5})
    monkeypatch.setattr(quality_data, "PROFILE", profile.model_copy(update={"ranker": ranker}))
    monkeypatch.setattr(quality_lists, "FEED_USERS", 25)


@pytest.mark.parametrize(
    ("data", "write", "k"),
    [
        ("ml-100k", movielens, 10),
        ("ml-windows", movielens, 10),
        ("gowalla", pairs, 20),
        ("beauty", lines, 10),
        ("sequences", one_file, 10),
    ],
)
def test_the_feed_beside_recommenders(
    data: str,
    write: Callable[[Path], Path],
    k: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture,
) -> None:
    given = ["--data", data, "--path", str(write(tmp_path))]
    alone = ["popularity", "ease", "transitions", "content"]
    rows = rows_of(run("quality", *given, "--only", *STAGES, *alone), "quality")
    left_out = {"gowalla": {"transitions", "content"}, "sequences": {"content"}}.get(data, set())
    table = capsys.readouterr().err
    for name in {*STAGES, *alone} - left_out:
        assert rows[f"{name} seconds to train"]["value"] >= 0
        assert 0 < rows[f"{name} recall@{k}"]["value"] <= 1
        assert f"| {name} | " in table
    for name in left_out:
        assert f"{name} is left out: " in caplog.text
        assert f"{name} ndcg@{k}" not in rows
    best = max(rows[f"{name} ndcg@{k}"]["value"] for name in {*alone} - left_out)
    assert rows[f"best single ndcg@{k}"]["value"] == best
    assert 0 <= rows["p feed over best single"]["value"] <= 1
    assert rows[f"feed ndcg@{k}"]["ratio"] > 0
    judged, of_feed = rows["users judged"]["value"], rows["users judged, feed"]["value"]
    assert of_feed <= judged <= USERS
    assert "the feed has no ranker" not in caplog.text


def test_the_feed_alone(tmp_path: Path) -> None:
    path = str(lines(tmp_path) / "sequences.txt")
    rows = rows_of(
        run("quality", "--data", "sequences", "--path", path, "--only", "feed"), "quality"
    )
    assert list(rows) == [
        "feed ndcg@10", "feed recall@10", "feed seconds to train", "users judged",
        "users judged, feed",
    ]  # fmt: skip


def test_the_last_of_a_sequence_is_judged_by(tmp_path: Path) -> None:
    protocol = DATA["sequences"](one_file(tmp_path))
    (cut,), log = protocol.cuts, protocol.log
    test = log.test_set(cut.train, cut.wanted)
    assert (np.diff(test.relevant.indptr) == 1).all()
    for row, items in zip(test.users, test.relevant.indices, strict=True):
        last = str(liked()[int(log.users[int(row)])][-1])
        assert log.items[int(items)] == last


def test_recall_is_of_all_that_is_relevant() -> None:
    wanted = sparse.csr_array(np.array([[1, 1, 1, 0, 0], [0, 0, 0, 1, 0]], np.float32))
    test = TestSet(np.arange(2), wanted, sparse.csr_array((2, 5)), np.full(2, "warm"))
    found = quality_lists.Judged.of(np.array([[0, 4], [2, 4]]), test, np.arange(2), 1.0)
    assert found.recall.tolist() == [1 / 3, 0]


def test_a_window_knows_of_others_only_what_came_before_it() -> None:
    rng, judged = np.random.default_rng(0), list[int]()
    rows = np.repeat(np.arange(40), 20)
    seconds = rng.uniform(0, 1e6, 40)[rows] + rng.uniform(0, 1e5, len(rows))
    for cut in windows(rows, seconds):
        asked = np.isin(rows, rows[cut.wanted])
        begin = seconds[cut.wanted].min(initial=np.inf)
        assert not (cut.train & cut.wanted).any()
        assert (seconds[cut.train & ~asked] <= begin).all()
        for user in np.unique(rows[cut.wanted]):
            own = rows == user
            assert seconds[own & cut.train].max() < seconds[own & cut.wanted].min()
        judged += np.unique(rows[cut.wanted]).tolist()
    assert len(judged) == len(set(judged)) > 15


def test_what_came_at_one_moment_stays_together() -> None:
    rows = np.array([0] * 10 + [1] * 4)
    seconds = np.array([*range(1, 8), 8, 8, 9, 5, 5, 5, 5], float)
    kept = quality_data.not_last(rows, seconds, 0.2)
    assert kept.tolist() == [True] * 9 + [False] + [True] * 4
    shuffled = np.random.default_rng(0).permutation(14)
    found = quality_data.not_last(rows[shuffled], seconds[shuffled], 0.2)
    assert (found == kept[shuffled]).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["gowalla"], "--path is needed"),
        (["gowalla", "--path", "/no/such"], "/no/such"),
        (["sequences", "--path", "/no/such"], "/no/such"),
        (["ml-windows", "--path", "/no/such"], "no ratings.csv"),
    ],
)
def test_what_is_not_there_is_said(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quality.main(["--data", *given]) == 1
    assert said in capsys.readouterr().err


def test_what_is_held_out_does_not_tell_when_a_film_came(tmp_path: Path) -> None:
    log = DATA["ml-windows"](movielens(tmp_path)).log
    film = log.frame["item_id"][0]
    known = (log.frame["item_id"] != film).to_numpy()
    items = log.dataset(known).catalogue.items
    assert items.filter(pl.col("created_at").is_null())["id"].to_list() == [film]
