"""MovieLens files of both shapes, crafted small: none of the real data is in the tests."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from storage.loading.load import load
from storage.loading.log import LoadError, shift_to
from storage.loading.readers import read_log
from storage.loading.samples import movielens

CLASSIC = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,3.5,964981247\n"
    "2,1,0.5,964982224\n",
    "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Adventure|Children\n"
    '2,"American President, The (1995)",Comedy\n3,Never Seen,(no genres listed)\n',
    "tags.csv": "userId,movieId,tag,timestamp\n1,1,Pixar,1\n2,1,pixar ,2\n2,1,my shelf,3\n",
}
ATOMIC = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t242\t3\t881250949\n186\t242\t5\t891717742\n196\t7\t1\t881250950\n",
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    '242\tKolya "x"\t1996\tComedy Sci-Fi\n7\tUnknown\t\tunknown\n',
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "196\t49\tM\twriter\t94043\n186\t39\tF\texecutive\tT8H1N\n",
}


def folder_of(files: dict[str, str], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_ratings_movies_and_tags(tmp_path: Path) -> None:
    log = read_log(folder_of(CLASSIC, tmp_path), "movielens")
    assert log.interactions["type"].to_list() == ["like", "click", "dismiss"]
    assert log.items is not None
    assert log.items["title"].to_list() == ["Toy Story", "American President, The", "Never Seen"]
    assert log.items["tags"].to_list() == [["Adventure", "Children", "pixar"], ["Comedy"], []]
    assert log.items["attributes"].to_list() == ['{"year":1995}', '{"year":1995}', '{"year":null}']
    first = datetime.fromtimestamp(964982224, UTC)
    assert log.items["created_at"].to_list()[0] == first
    assert log.owners is None
    assert "GroupLens" in log.notice
    assert "10.1145/2827872" in log.notice


def test_atomic_files(tmp_path: Path) -> None:
    log = read_log(folder_of(ATOMIC, tmp_path), "movielens")
    assert log.interactions["type"].to_list() == ["click", "like", "dismiss"]
    assert log.items is not None
    assert log.items["title"].to_list() == ['Kolya "x"', "Unknown"]
    assert log.items["tags"].to_list() == [["Comedy", "Sci-Fi"], []]
    assert log.users is not None
    writer, executive = log.users.sort("id", descending=True).to_dicts()
    assert writer["attributes"] == '{"age":49,"gender":"M","occupation":"writer"}'
    assert writer["city"] == "Mountain View"
    assert (round(writer["lat"]), round(writer["lon"])) == (37, -122)
    assert writer["created_at"] == datetime.fromtimestamp(881250949, UTC)
    assert (executive["lat"], executive["lon"], executive["city"]) == (None, None, None)


def test_the_clock_is_shifted_once(database: str, tmp_path: Path) -> None:
    path = folder_of(ATOMIC, tmp_path)
    now = datetime.now(UTC).replace(microsecond=0)
    newest = "SELECT max(occurred_at), count(*) FROM feed.interactions"
    with psycopg.connect(database) as conn:
        for later in (timedelta(0), timedelta(minutes=5)):
            report = load(conn, shift_to(read_log(path, "movielens"), now + later))
            assert conn.execute(newest).fetchone() == (now, 3)
        assert report.entities["interactions"].duplicate == 3
        assert report.entities["users"].duplicate == 2
        spread = conn.execute(
            "SELECT max(occurred_at) - min(occurred_at) FROM feed.interactions"
        ).fetchone()
        assert spread == (timedelta(seconds=891717742 - 881250949),)
        created = "SELECT created_at, status FROM feed.items WHERE id = '7'"
        seen = now - timedelta(seconds=891717742 - 881250950)
        assert conn.execute(created).fetchone() == (seen, "published")


def test_the_sample_must_be_there_and_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movielens, "SAMPLE_PACKAGE", "no-such-package-at-all")
    with pytest.raises(LoadError, match="make sample-data"):
        movielens.sample_path()

    class Installed:
        def locate_file(self, name: str) -> Path:
            assert name == "recbole/dataset_example/ml-100k"
            return tmp_path

    monkeypatch.setattr(movielens, "distribution", lambda _: Installed())
    with pytest.raises(LoadError, match="no such file"):
        movielens.sample_path()
    folder_of(ATOMIC, tmp_path)
    with pytest.raises(LoadError, match="SHA-256"):
        movielens.sample_path()
    hashes = {
        name: hashlib.sha256(content.encode()).hexdigest() for name, content in ATOMIC.items()
    }
    monkeypatch.setattr(movielens, "SAMPLE_HASHES", hashes)
    assert movielens.sample_path() == tmp_path


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no ratings\.csv and no \*\.inter"):
        read_log(tmp_path, "movielens")
    (tmp_path / "ratings.csv").write_text("user,film\n1,2\n")
    with pytest.raises(LoadError, match="does not hold MovieLens files"):
        read_log(tmp_path, "movielens")


if real := os.environ.get("FEEDWRIGHT_ML_LATEST_SMALL"):
    real_path = Path(real)

    def test_the_real_small_set(database: str) -> None:
        with psycopg.connect(database) as conn:
            report = load(conn, read_log(real_path, "movielens"))
        assert report.entities["interactions"].inserted == 100_836
        assert report.entities["items"].inserted == 9_742
        assert report.rejected == 0
