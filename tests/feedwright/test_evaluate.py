"""The live feed held against a test set, on the real service over real HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from feedwright.cli.app import app
from models.profile.schema import SHIPPED
from serving.admin import stages
from serving.app import FeedApp
from storage.settings import Settings, get_settings
from tests.conftest import TEMPLATE, url_of
from tests.feedwright_client.conftest import served, wait_for
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import with_ranker

USERS = [f"u{n:04}" for n in range(12)]
STRANGER = "somebody new"
RELEVANT = {
    user: {f"i{(7 * n + m) % 60:04}" for m in range(0, 36, 3)} for n, user in enumerate(USERS)
}
RELEVANT |= {STRANGER: {"i0001", "i0002", "not there"}}


@pytest.fixture(scope="module")
def service(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the real application, with a model, a ranker and no exploration."""
    home, name = tmp_path_factory.mktemp("evaluate"), f"evaluate_{uuid4().hex}"
    profile = home / "profile.yaml"
    shipped = yaml.safe_load((SHIPPED / "marketplace.yaml").read_text())
    profile.write_text(yaml.safe_dump(shipped | {"exploration": {"share": 0.0}}))
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    mlflow.version = "9"
    settings = Settings(
        home=home,
        database_url=url_of(postgres_url, name),
        mlflow_url=mlflow.url,
        profile=str(profile),
    )
    with_ranker("9").save(settings.snapshots / "9")
    application = FeedApp(settings)
    with served(application.asgi) as url:
        wait_for(application.is_ready)
        yield url
    mlflow.close()
    _server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def _installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEEDWRIGHT_FEED_URL", "http://127.0.0.1:9")  # nobody listens there
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def asked(service: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FEEDWRIGHT_FEED_URL", service)
    return service


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    users, relevant = tmp_path / "users.txt", tmp_path / "relevant.csv"
    users.write_text("\n".join([*USERS, "", STRANGER, "without", USERS[0]]) + "\n")
    rows = [f"{user},{item}" for user, items in RELEVANT.items() for item in sorted(items)]
    relevant.write_text("\n".join(["user_id,item_id", *rows, rows[0], "another,i0001"]) + "\n")
    return users, relevant


def evaluated(files: tuple[Path, Path], *options: str) -> Any:
    users, relevant = map(str, files)
    given = ["evaluate", "--users", users, "--relevant", relevant, *options, "--json"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def pages(service: str, limit: int) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for user in RELEVANT:
        query = {"user_id": user, "limit": str(limit), "exclude_seen": "true"}
        found[user] = httpx.get(f"{service}/api/v1/feed", params=query).json()["items"]
    return found


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["item_id"] for item in items]


def mean_ndcg(lists: dict[str, list[str]], k: int) -> float:
    def of(user: str) -> float:
        wanted = RELEVANT[user]
        gained = sum(
            1 / math.log2(rank + 1)
            for rank, item in enumerate(lists[user][:k], 1)
            if item in wanted
        )
        return gained / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))

    return sum(map(of, lists)) / len(lists)


def test_lists_are_those_of_the_feed_item_for_item(asked: str) -> None:
    body = {"users": [{"user_id": user} for user in RELEVANT], "limit": 10}
    answer = httpx.post(f"{asked}/api/v1/admin/stages", json=body).json()
    assert [one["user_id"] for one in answer["users"]] == list(RELEVANT)
    feeds = pages(asked, 100)
    for one in answer["users"]:
        page = feeds[one["user_id"]]
        assert one["feed"] == ids(page)[:10]
        known = one["user_id"] != STRANGER
        assert one["variant"] == ("champion" if known else "heuristic")
        assert one["fallback_reason"] == (None if known else "unknown_user")
        assert one["model_version"] == ("9" if known else None)
        if known:
            assert one["model"] != one["ranker"]
            for stage in ("model", "ranker"):
                shown = {item["item_id"]: item["components"][stage] for item in page}
                best = sorted(shown.values(), reverse=True)[:10]
                assert [shown[item] for item in one[stage]] == best
        else:
            assert one["model"] == one["ranker"]


def test_the_numbers_are_of_the_feed_that_users_get(asked: str, files: tuple[Path, Path]) -> None:
    document = evaluated(files, "--k", "10")
    rows = {row["name"]: row for row in document["rows"]}
    feeds = {user: ids(page) for user, page in pages(asked, 10).items()}
    assert rows["feed ndcg@10"]["value"] == pytest.approx(mean_ndcg(feeds, 10), abs=1e-6)
    feed = rows["feed ndcg@10"]
    assert feed["low"] < feed["value"] < feed["high"]
    assert len({rows[f"{stage} ndcg@10"]["value"] for stage in ("model", "ranker", "feed")}) == 3
    model = rows["model ndcg@10"]["value"]
    assert feed["baseline"] == "model ndcg@10"
    assert feed["ratio"] == pytest.approx(feed["value"] / model, abs=1e-3)
    assert 0 < rows["feed recall@10"]["value"] <= 1
    assert document["name"] == "evaluate"
    assert document["feed"] == {
        "address": asked,
        "model_versions": ["9"],
        "variants": {"champion": 12, "heuristic": 1},
        "fallback_reasons": {"unknown_user": 1},
    }
    counts = {name: row["value"] for name, row in rows.items() if "@" not in name}
    assert counts["users judged"] == 13
    assert counts["users without relevant items, left out"] == 1
    assert counts["users of relevant items who are not among the users"] == 1
    assert counts["users unknown to the model"] == counts["users ranked by the heuristic"] == 1
    assert counts["relevant items"] == len(set().union(*RELEVANT.values()))
    assert counts["relevant items not in the catalogue"] == 1
    assert counts["relevant pairs excluded: unknown_item"] == 1
    assert counts["relevant pairs excluded: seen"] > 0
    other = {row["name"]: row["value"] for row in evaluated(files, "--k", "3")["rows"]}
    assert other["feed ndcg@3"] == pytest.approx(mean_ndcg(feeds, 3), abs=1e-6)


def test_users_for_whom_there_was_no_time_are_asked_again(
    asked: str, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = evaluated(files)
    monkeypatch.setattr(stages, "SECONDS", 0.0)
    assert evaluated(files) == before


def test_people_get_a_table(asked: str, files: tuple[Path, Path]) -> None:
    users, relevant = map(str, files)
    result = CliRunner().invoke(app, ["evaluate", "--users", users, "--relevant", relevant])
    assert result.exit_code == 0
    for said in ("ndcg@10", "recall@10", "model", "ranker", "feed", "13 users judged", "version 9"):
        assert said in result.stdout


@pytest.mark.parametrize(
    ("users", "relevant", "said"),
    [
        (None, "user_id,item_id\nu0001,i0001\n", "--users: there is no file"),
        ("\n \n", "user_id,item_id\nu0001,i0001\n", "names no user. Give a text file"),
        ("x" * 300, "user_id,item_id\nu0001,i0001\n", "--users: line 1 of"),
        (b"\xff\xfe\x00", "user_id,item_id\nu0001,i0001\n", "is not text in UTF-8"),
        ("u0001", None, "--relevant: there is no file"),
        ("u0001", "", "is empty. Give a CSV file in UTF-8 whose first line is: user_id,item_id"),
        ("u0001", "user_id,item_id\n", "has no row below its header"),
        ("u0001", "user;item\nu0001;i0001\n", "has no column user_id and no item_id, but"),
        ("u0001", "user_id,item\nu0001,i0001\n", "has no column item_id, but 'user_id', 'item'"),
        ("u0001", "user_id,item_id\nu0001,i0001\nu0001,\n", "row 2 below the header"),
        ("u0001", "user_id,item_id\nu0001,a,b\n", "is no CSV"),
        ("u0001", "user_id,item_id\nu0002,i0001\n", "has rows of 'u0002'; the users are 'u0001'"),
        ("u0001", "user_id,item_id\nu0001,lost\n", "not one item_id is in the catalogue"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_field_and_fix(
    asked: str, tmp_path: Path, users: str | bytes | None, relevant: str | None, said: str
) -> None:
    for name, content in (("users.txt", users), ("relevant.csv", relevant)):
        if content is not None:
            encoded = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(encoded)
    given = ["evaluate", "--users", "users.txt", "--relevant", "relevant.csv"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert said in " ".join(result.stderr.split())
    assert len(result.stderr) < 1_000


def test_without_a_service_it_says_how_to_start_it(files: tuple[Path, Path]) -> None:
    users, relevant = map(str, files)
    result = CliRunner().invoke(app, ["evaluate", "--users", users, "--relevant", relevant])
    assert result.exit_code == 1
    assert "does not answer" in result.stderr
    assert "feedwright up" in result.stderr


def test_a_key_that_may_not_ask_is_told_which_may(
    asked: str, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDWRIGHT_API_KEY", "fw_read_none")
    get_settings.cache_clear()
    users, relevant = map(str, files)
    result = CliRunner().invoke(app, ["evaluate", "--users", users, "--relevant", relevant])
    assert result.exit_code == 1
    assert "wants a key of scope admin. Make one" in " ".join(result.stderr.split())
