"""The schema: migration from nothing, again, at once, refused; partitions and unique events."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from alembic import command

from storage import migrations
from storage.postgres.database import DatabaseError, connect, database_url, migrate
from storage.postgres.embedded import EmbeddedPostgres
from storage.preparation import prepare
from storage.settings import Settings
from tests.conftest import fast_folder

EVENT = (
    "INSERT INTO feed.interactions (event_id, user_id, type, occurred_at) VALUES (%s, %s, %s, %s)"
)


def revisions(url: str) -> list[tuple]:
    with connect(url) as connection:
        return connection.execute("SELECT version_num FROM feed.alembic_version").fetchall()


def url_for(url: str, user: str) -> str:
    """``url`` for another role."""
    return url.replace("//feedwright@", f"//{user}@", 1)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as path:
        yield path


@pytest.fixture
def role(empty_database: str) -> Iterator[str]:
    """A role without rights, in ``empty_database``."""
    name = f"role_{uuid4().hex}"
    with connect(empty_database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        yield name
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def test_migrates_an_empty_database_once(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty_database)
    assert revisions(empty_database) == [(migrations.head(),)]
    with monkeypatch.context() as patch:  # then one connection looks, and that is all
        patch.setattr("sqlalchemy.create_engine", lambda *_, **__: pytest.fail("it goes on"))
        migrate(empty_database)
    with connect(empty_database) as connection:
        schemas = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    assert {("feed",), ("dagster",), ("mlflow",)} <= set(schemas)


def test_migrates_from_four_threads_at_once(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty_database] * 4))
    assert revisions(empty_database) == [(migrations.head(),)]


def test_history_has_one_line_and_no_way_back() -> None:
    script = migrations._scripts()
    assert len(script.get_heads()) == 1
    assert not any(hasattr(s.module, "downgrade") for s in script.walk_revisions())


def test_a_migration_that_fails_leaves_nothing(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA feed")
        connection.execute("CREATE TABLE feed.audit_log (id int)")
    with pytest.raises(DatabaseError, match='failed: relation "audit_log" already exists'):
        migrate(empty_database)
    with connect(empty_database) as connection:
        assert connection.execute("SELECT to_regclass('feed.users')").fetchone() == (None,)
        assert connection.execute("SELECT to_regnamespace('dagster')").fetchone() == (None,)


def test_a_newer_database_is_refused(database: str) -> None:
    with connect(database) as connection:
        connection.execute("UPDATE feed.alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match=r"9999.*newer Feedwright"):
        migrate(database)


def test_a_role_that_may_not_create_schemas(empty_database: str, role: str) -> None:
    with pytest.raises(DatabaseError, match="GRANT CREATE ON DATABASE"):
        migrate(url_for(empty_database, role))


def test_a_role_that_owns_schemas_made_for_it(empty_database: str, role: str) -> None:
    with connect(empty_database) as connection:
        for schema in ("feed", "dagster", "mlflow"):
            connection.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    migrate(url_for(empty_database, role))
    assert revisions(empty_database) == [(migrations.head(),)]


def test_prepare_starts_the_embedded_server(folder: Path) -> None:
    settings = Settings(home=folder / "home", database_url=None)
    server = EmbeddedPostgres(settings.postgres_dir)
    try:
        url = prepare(settings)
        assert url == prepare(settings) == database_url(settings) == server.url
        assert revisions(url) == [(migrations.head(),)]
    finally:
        server.remove()


def test_prepare_uses_the_database_it_is_given(settings: Settings) -> None:
    assert prepare(settings) == settings.database_url
    assert not settings.postgres_dir.exists()


def test_connections_have_our_name(database: str) -> None:
    with connect(database) as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("feedwright",)
    with connect(database + "&application_name=other") as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("other",)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:secret@127.0.0.1:1/shop", "Nothing listens there"),
        (f"postgresql://me:secret@/shop?host={quote('/nowhere', safe='')}", "No server has its"),
        ("postgresql://me:sec@ret@host/shop", "FEEDWRIGHT_DATABASE_URL"),
        ("postgresql://me:secret@no-such-host.invalid/shop", "No such host"),
    ],
)
def test_a_database_that_is_not_there(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as caught:
        connect(url)
    assert "secret" not in str(caught.value)
    assert "sec@ret" not in str(caught.value)


def test_a_database_of_another_name(postgres_url: str) -> None:
    url = postgres_url.replace("/feedwright?", "/elsewhere?")
    with pytest.raises(DatabaseError, match="Create it, or correct the name"):
        connect(url)


def test_a_wrong_password(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres")
    try:
        url = server.start()
        with connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
            (rules,) = connection.execute("SHOW hba_file").fetchone()  # type: ignore[misc]
            Path(rules).write_text("local all guest scram-sha-256\nlocal all all trust\n")
            connection.execute("SELECT pg_reload_conf()")
        with pytest.raises(DatabaseError, match="user or the password is wrong"):
            connect(url.replace("//feedwright@", "//guest:wrong@"))
    finally:
        server.remove()


def test_a_version_that_is_too_old(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.postgres.database.OLDEST_MAJOR", 99)
    with pytest.raises(DatabaseError, match=r"is Postgres 18.*needs 99"):
        connect(database)


def test_partitions_by_month(database: str) -> None:
    """Of the months that are named, and no others; one of which the default partition holds rows
    gets none."""
    ensure = "SELECT feed.ensure_interaction_partitions(VARIADIC %s::timestamptz[])"
    asked = [datetime(2025, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)]
    waiting = datetime(2020, 1, 1, tzinfo=UTC)
    with connect(database) as connection:
        connection.execute("SET timezone = 'Pacific/Auckland'")  # months are of UTC everywhere
        connection.execute(EVENT, (uuid4(), "u", "view", waiting))
        assert connection.execute(ensure, ([*asked, asked[0], waiting],)).fetchone() == (2,)
        assert connection.execute(ensure, (asked,)).fetchone() == (0,)
        for at in asked:
            connection.execute(EVENT, (uuid4(), "u", "view", at))
        rows = connection.execute(
            "SELECT tableoid::regclass::text FROM feed.interactions ORDER BY occurred_at"
        ).fetchall()
    assert rows == [
        ("feed.interactions_default",),
        ("feed.interactions_202511",),
        ("feed.interactions_202602",),
    ]


def test_an_event_is_kept_once(database: str) -> None:
    event = (uuid4(), "o'Neil 🎈", "click", datetime(2026, 3, 5, tzinfo=UTC))
    with connect(database, autocommit=True) as connection:
        connection.execute(EVENT, event)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(EVENT, event)
        connection.execute(EVENT + " ON CONFLICT DO NOTHING", event)
        assert connection.execute("SELECT count(*) FROM feed.interactions").fetchone() == (1,)


def test_rows_that_were_refused_before_say_whose_they_are(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0017"))
    migrate(empty_database)
    refused = [
        ("interactions", '{"user_id": "Jos\\u00e9", "item_id": "i", "at": NaN}'),
        ("interactions", '{"metadata":{"user_id":"x"},"user_id":"tab\\t\\"q\\"","type":"bad"}'),
        ("interactions", '{"userId": 196, "half": "\\ud800"}'),
        ("interactions", '{"User-ID": 196.0, "item_id": "i"}'),
        ("users", '{"id": "anna", "lat": 91}'),
        ("items", '{"id": "anna"}'),
        ("interactions", "[" * 20_000),
        ("interactions", '["user_id"]'),
        ("interactions", f'{{"user_id": "{"x" * 9_000}"}}'),
    ]
    late = [("interactions", '{"userId": "gone", "half": "\\udc00"}'), ("users", '{"id": "gone"}')]
    with connect(empty_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.erasures (id_sha256, lake_done_at) SELECT sha256(id::bytea), now()"
            " FROM unnest('{gone,back}'::text[]) AS id"
        )
        connection.execute("INSERT INTO feed.users (id) VALUES ('back')")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO feed.interactions_rejected (entity, source, reason, raw)"
                " VALUES (%s, 'api', 'bad', %s)",
                [*refused, *late, ("users", '{"id": "back"}')],
            )
    monkeypatch.undo()
    migrate(empty_database)
    with connect(empty_database) as connection:
        found = connection.execute("SELECT user_ids FROM feed.interactions_rejected ORDER BY id")
        assert [ids for (ids,) in found] == [
            ["José"], ['tab\t"q"'], ["196"], ["196.0"], ["anna"], [], [], [], [], ["back"],
        ]  # fmt: skip
