"""Who may call what, over real HTTP on the real application."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
import uvicorn
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.origins import is_local, is_loopback, listens_on_loopback_alone
from serving import openapi
from serving.access import require_user, user_tokens
from serving.access.caller import STATE, Caller
from serving.access.tokens import BadToken, make_token, read_token
from serving.app import FeedApp
from serving.http.problems import MEDIA_TYPE
from serving.launch import settings_environment
from storage.operations.keys import (
    KeyScope,
    TokenSecret,
    make_key,
    revoke_key,
    rotate_secret,
    signing_secret,
)
from storage.postgres.database import connect, migrate
from storage.settings import Settings
from tests.conftest import TEMPLATE, url_of
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot

ORIGIN = "https://shop.example"
USER = "u0007"
SECRET = TokenSecret(1, b"s" * 32)
DAY = 86_400


@dataclasses.dataclass
class Server:
    """The application behind access control, on a port of its own."""

    url: str
    app: FeedApp
    settings: Settings
    keys: dict[str, str]
    client: httpx.Client

    @property
    def database(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url

    def call(self, method: str, path: str, key: str = "", **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if key:
            headers["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        return self.client.request(method, self.url + path, headers=headers, **options)

    def get(self, path: str, key: str = "", **options: Any) -> httpx.Response:
        return self.call("GET", path, key, **options)

    def token(self, user_id: str = USER, *scopes: str) -> str:
        with connect(self.database) as connection:
            secret = signing_secret(connection)
        return make_token(secret, user_id, 1, *([scopes] if scopes else []))[0]


def guarded(settings: Settings) -> FeedApp:
    return FeedApp(settings)


@contextmanager
def serving(
    settings: Settings, host: str = "127.0.0.1", keys: dict[str, str] | None = None
) -> Iterator[Server]:
    if keys is None:
        assert settings.database_url is not None
        with connect(settings.database_url, autocommit=True) as connection:
            scopes: tuple[KeyScope, ...] = ("track", "read", "admin")
            keys = {scope: make_key(connection, scope, f"a {scope}") for scope in scopes}
            keys["browser"] = make_key(connection, "read", "browser", needs_token=True)
            keys["page"] = make_key(connection, "track", "page", needs_token=True)
    app = guarded(settings)
    with socket.socket() as listening:
        listening.bind((host, 0))
        config = uvicorn.Config(app.asgi, log_level="warning", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        listens_on_loopback_alone.cache_clear()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with httpx.Client(trust_env=False) as client:
            yield Server(url, app, settings, keys, client)
        server.should_exit = True
        thread.join(10)
        listens_on_loopback_alone.cache_clear()


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.access.middleware.RELOAD_SECONDS", 0.6)
        patch.setattr("serving.access.middleware.FLUSH_SECONDS", 0.2)
        patch.setattr("serving.access.keys.MISS_SECONDS", 0.3)
        yield


@contextmanager
def installed(
    postgres_url: str, server: psycopg.Connection, folder: Any, name: str, **given: Any
) -> Iterator[Settings]:
    server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    mlflow.version = "1"
    settings = Settings(
        home=folder, database_url=url_of(postgres_url, name), mlflow_url=mlflow.url, **given
    )
    make_snapshot("1").save(settings.snapshots / "1")
    yield settings
    mlflow.close()
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def installation(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    with installed(
        postgres_url,
        _server,
        tmp_path_factory.mktemp("home"),
        "access",
        cors_origins=ORIGIN,
        rate_limit_per_user=120,
        rate_limit_per_key=100_000,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def required(installation: Settings) -> Iterator[Server]:
    """Everybody needs a key."""
    with serving(installation.model_copy(update={"auth": "required"})) as server:
        yield server


@pytest.fixture(scope="module")
def local(installation: Settings) -> Iterator[Server]:
    """As it comes: this machine needs none."""
    with serving(installation) as server:
        yield server


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    told = answer.json()
    assert told["status"] == status
    assert told["request_id"] == answer.headers["x-request-id"]
    return told


def sample(path: str) -> str:
    """A path for a template."""
    before, brace, after = path.partition("{")
    return before + "x" + sample(after.partition("}")[2]) if brace else path


@pytest.mark.parametrize("key", ["", "track", "read", "admin"])
def test_each_scope_opens_its_calls_and_no_other(required: Server, key: str) -> None:
    opens = {
        "": {"public"},
        "track": {"public", "track"},
        "read": {"public", "read"},
        "admin": {"public", "track", "read", "preferences", "admin", "metrics"},
    }[key]
    for call in openapi.ENDPOINTS:
        if call.handler is None or call.path == "/metrics":
            continue
        answer = required.call(
            call.method,
            sample(call.path),
            headers={"X-Api-Key": required.keys[key]} if key else {},
            json=None if call.method in ("GET", "DELETE") else {},
        )
        if call.scope in opens:
            assert answer.status_code not in (401, 403), (call, answer.text)
            away = answer.status_code == 503  # MLflow and Dagster are, here
            assert answer.status_code < 500 or (away and call.scope == "admin"), call
        else:
            told = problem_of(answer, 403 if key else 401)
            assert answer.headers["www-authenticate"].startswith("Bearer "), told


def test_what_nobody_declared_needs_an_admin_key(required: Server) -> None:
    for path in ("/secret", "//api/v1/feed", "/api/v1/feed/", "/api/v1/feed/x", "/API/v1/feed"):
        problem_of(required.get(path), 401)
        problem_of(required.get(path, "read"), 403)
        problem_of(required.get(path, "admin"), 404)
    problem_of(required.call("TRACE", "/api/v1/feed", "read"), 403)
    assert required.call("HEAD", "/api/v1/feed?user_id=u1", "read").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        {"Authorization": "Bearer fw_read_00000000_" + "x" * 43},
        {"Authorization": "Bearer x"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Basic dTpw"},
        {"X-Api-Key": ""},
        {"X-Api-Key": "é" * 5000},
        {"X-User-Token": "é.é.é"},
        {"X-User-Token": "eyJraWQiOltdfQ.e30.x"},
    ],
)
def test_what_is_no_credential(required: Server, sent: dict[str, str]) -> None:
    headers = {name: value.encode() for name, value in sent.items()}
    told = required.get("/api/v1/feed?user_id=u1", headers=headers)
    assert "fw_" not in problem_of(told, 401)["detail"]


def test_a_key_with_one_letter_changed_or_sent_twice(required: Server) -> None:
    key = required.keys["read"]
    changed = key[:-1] + ("a" if key[-1] != "a" else "b")
    problem_of(required.get("/api/v1/profiles", changed), 401)
    problem_of(required.get("/api/v1/profiles", key.replace("_read_", "_admin_")), 401)
    problem_of(required.get("/api/v1/profiles", "read", headers={"X-Api-Key": key}), 401)
    assert required.get("/api/v1/profiles", "read").status_code == 200


def test_a_key_in_the_query_is_for_sending_events_alone(required: Server) -> None:
    track, admin = required.keys["track"], required.keys["admin"]
    sent = required.call("POST", f"/api/v1/interactions?key={track}", json=[])
    assert sent.status_code not in (401, 403)
    problem_of(required.get(f"/api/v1/profiles?key={required.keys['read']}"), 401)
    told = problem_of(required.call("POST", f"/api/v1/interactions?key={admin}", json=[]), 403)
    assert "Revoke" in told["detail"]


def test_keys_made_and_revoked_while_it_runs(required: Server) -> None:
    with connect(required.database, autocommit=True) as connection:
        time.sleep(0.4)  # an unknown key was just looked for
        key = make_key(connection, "read", "late")
        assert required.get("/api/v1/profiles", key).status_code == 200  # at the first call
        revoke_key(connection, key.split("_")[2])
    wait_until(lambda: required.get("/api/v1/profiles", key).status_code != 200)
    problem_of(required.get("/api/v1/profiles", key), 401)


def test_a_token_is_one_user(required: Server) -> None:
    token = required.token("o'Neil & söner/1")
    mine, other = quote("o'Neil & söner/1", safe=""), "u0001"
    feed = required.get("/api/v1/feed?limit=1", token)  # filled in
    assert feed.status_code == 200, feed.text
    assert required.get(f"/api/v1/feed?limit=1&user_id={mine}", token).status_code == 200
    for path in (
        f"/api/v1/feed?user_id={other}",
        f"/api/v1/feed?user_id={mine}&user_id={other}",
        f"/api/v1/feed?%75ser_id={other}",
        "/api/v1/feed?user_id=",
        f"/api/v1/feed/trending?user_id={other}",
        f"/api/v1/feed/preferences?user_id={other}",
        f"/api/v1/recommendations/{other}",
        f"/api/v1/features/users/{other}",
        f"/api/v1/features/users/{mine}x",
        f"/api/v1/features/pairs/{other}/i0001",
        f"/api/v1/features/pairs%2F{mine}/i0001",
        f"/api/v1/users/{mine}",  # not even their own: it is the product's row
        "/api/v1/users",
    ):
        problem_of(required.get(path, token), 403)
    for path in (f"/api/v1/recommendations/{mine}", f"/api/v1/features/pairs/{mine}/i0001"):
        assert required.get(path, token).status_code == 404  # let in; nobody knows them
    own = required.call("PATCH", "/api/v1/feed/preferences", token, json={})
    assert own.status_code == 404
    problem_of(required.call("PUT", "/api/v1/items/x", token, json={}), 403)


def test_a_tokens_scopes_and_a_key_that_needs_one(required: Server) -> None:
    reads = required.token(USER, "read")
    problem_of(required.call("POST", "/api/v1/interactions", reads, json=[]), 403)
    problem_of(required.get("/api/v1/feed/preferences", reads), 403)
    browser, page = required.keys["browser"], required.keys["page"]
    forged = {"user_id": USER, "item_id": "i0001", "type": "dismiss"}  # refused: it has no id
    answer = required.call("POST", "/api/v1/interactions", page, json=[forged])
    assert answer.json()["rejected"] == 1
    with connect(required.database) as connection:
        kept = "SELECT count(*) FROM feed.interactions_rejected WHERE user_ids @> %s"
        assert connection.execute(kept, ([USER],)).fetchone() == (0,)
    problem_of(required.get(f"/api/v1/feed?user_id={USER}", browser), 403)
    problem_of(required.get(f"/api/v1/recommendations/{USER}", browser), 403)
    assert required.get("/api/v1/feed/trending", browser).status_code == 200
    both = {"X-Api-Key": browser, "X-User-Token": required.token(USER, "track")}
    assert required.get(f"/api/v1/feed?user_id={USER}", headers=both).status_code == 200
    problem_of(required.get("/api/v1/feed?user_id=u0001", headers=both), 403)


def test_tokens_are_made_over_http_and_end_with_their_secret(required: Server) -> None:
    path = "/api/v1/admin/user-tokens"
    problem_of(required.call("POST", path, "read", json={"user_id": USER}), 403)
    problem_of(required.call("POST", path, "admin", json={"user_id": USER, "hours": 25}), 422)
    made = required.call("POST", path, "admin", json={"user_id": USER, "scopes": ["read"]})
    assert made.status_code == 201
    body = user_tokens.UserToken.model_validate_json(made.content)
    assert (body.user_id, body.scopes) == (USER, ["read"])
    assert required.get("/api/v1/feed", body.token).status_code == 200
    with connect(required.database, autocommit=True) as connection:
        rotate_secret(connection)
        newer = required.token()
        time.sleep(0.4)
        assert required.get("/api/v1/feed", newer).status_code == 200
        assert required.get("/api/v1/feed", body.token).status_code == 200
        rotate_secret(connection, now=True)
    wait_until(lambda: required.get("/api/v1/feed", body.token).status_code != 200)
    problem_of(required.get("/api/v1/feed", newer), 401)


def signed(secret: bytes = SECRET.secret, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode(
        {"sub": "ann", "scope": "read", "iat": now, "exp": now + 3_600, **claims},
        secret,
        "HS256",
        headers={"kid": "1"},
    )


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed(exp=int(time.time()) - DAY, iat=int(time.time()) - DAY - 60), "expired"),
        (signed(exp=int(time.time()) + 2 * DAY), "more than 24 hours"),
        (signed(b"t" * 32), "not valid"),
        (signed(sub=7), "not valid"),
        (signed(sub=""), "not valid"),
        (signed(scope="read admin"), "not valid"),
        (signed(iat=int(time.time()) + 3600, exp=int(time.time()) + 7200), "of the future"),
        (jwt.encode({"sub": "ann"}, SECRET.secret, "HS256", headers={"kid": "1"}), "not valid"),
        (jwt.encode({"sub": "ann"}, SECRET.secret, "HS512", headers={"kid": "1"}), "not valid"),
        (jwt.encode({"sub": "ann"}, "", "none", headers={"kid": "1"}), "not valid"),
        (make_token(TokenSecret(2, SECRET.secret), "ann", 1)[0], "no secret"),
        ("a" * 5000 + "..", "too long"),
    ],
)
def test_tokens_that_are_not_believed(token: str, why: str) -> None:
    with pytest.raises(BadToken, match=why):
        read_token(token, {"1": SECRET.secret})
    assert read_token(signed(), {"1": SECRET.secret}).user_id == "ann"


@pytest.mark.parametrize(
    ("caller", "asked", "expected"),
    [
        (Caller(frozenset({"read"}), "k"), "ann", "ann"),
        (Caller(frozenset({"read"}), "t", None, "ann"), "ann", "ann"),
        (Caller(frozenset({"read"}), "t", None, "ann"), None, "ann"),
        (Caller(frozenset({"read"}), "t", None, "ann"), "bob", 403),
        (Caller(frozenset({"read"}), "t", None, "ann"), "", 403),
        (Caller(frozenset({"track"}), "k", "1", None, True), "bob", 403),
        (Caller(frozenset({"track"}), "k", "1", None, True), None, None),
    ],
)
def test_the_user_in_a_body(caller: Caller, asked: str | None, expected: object) -> None:
    request = Request({"type": "http", STATE: caller})
    if expected == 403:
        with pytest.raises(HTTPException) as caught:
            require_user(request, asked)
        assert caught.value.status_code == 403
    else:
        assert require_user(request, asked) == expected


def test_this_machine_needs_no_key(local: Server) -> None:
    assert local.get("/api/v1/feed?user_id=u0001").status_code == 200
    assert local.call("PUT", "/api/v1/items/lamp", json={}).status_code in (200, 201)
    own = {"Origin": local.url, "Sec-Fetch-Site": "same-origin"}
    assert local.call("PUT", "/api/v1/items/lamp", json={}, headers=own).status_code == 200
    assert local.get("/metrics").status_code == 200
    # but what is sent must be good, and means what it says
    problem_of(local.get("/api/v1/profiles", "x"), 401)
    problem_of(local.call("PUT", "/api/v1/items/lamp", "read", json={}), 403)
    problem_of(local.get("/api/v1/feed?user_id=u0001", local.token()), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # DNS rebinding
        {"Host": "127.0.0.1.evil.example:3000"},
        {"Host": "localhost.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": "evil.localhost"},
        {"Host": ""},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": ORIGIN},  # may call, with a key
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},  # another program's page
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-Host": "shop.example"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
)
def test_who_only_looks_like_this_machine_needs_a_key(
    local: Server, headers: dict[str, str]
) -> None:
    problem_of(local.get("/api/v1/feed?user_id=u0001", headers=headers), 401)
    beacon = {**headers, "Content-Type": "text/plain"}
    problem_of(local.call("POST", "/api/v1/items:bulk", content=b"{}", headers=beacon), 401)
    problem_of(local.get("/metrics", headers=headers), 401)
    with_key = local.get("/api/v1/feed?user_id=u0001", "read", headers=headers)
    assert with_key.status_code == 200


def test_a_proxy_that_says_nothing_speaks_http_1_0(local: Server) -> None:
    """As nginx does unless told otherwise, with the server's own name as Host."""
    host, port = local.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET /api/v1/profiles HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert b" 401 " in connection.recv(100)


def test_a_server_that_listens_to_others_wants_keys_of_all(installation: Settings) -> None:
    with serving(installation.model_copy(update={"host": "0.0.0.0"})) as server:
        problem_of(server.get("/api/v1/profiles"), 401)
        problem_of(server.get("/metrics"), 401)
        assert server.get("/metrics", "admin").status_code == 200
        assert server.get("/").status_code == 200
    with serving(installation, host="0.0.0.0") as server:  # whatever the settings say
        problem_of(server.get("/api/v1/profiles"), 401)


def test_off_is_off_and_metrics_may_be_public(installation: Settings) -> None:
    changes = {"auth": "off", "host": "0.0.0.0"}
    with serving(installation.model_copy(update=changes), host="0.0.0.0") as server:
        assert server.get("/api/v1/users").status_code == 200
    public: dict[str, Any] = {"auth": "required", "metrics_public": True}
    with serving(installation.model_copy(update=public)) as server:
        assert server.get("/metrics", headers={"Host": "any"}).status_code == 200
        problem_of(server.get("/api/v1/profiles"), 401)


def test_no_other_sites_page_moves_anything_where_nobody_needs_a_key(
    installation: Settings,
) -> None:
    moves = [
        ("POST", "/api/v1/admin/models/rollback"),
        ("POST", "/api/v1/admin/models/1/activate"),
        ("POST", "/api/v1/admin/train"),
        ("POST", "/api/v1/admin/experiments/one/end"),
        ("PUT", "/api/v1/admin/flags/one"),
        ("DELETE", "/api/v1/items/lamp"),
    ]
    evil = "https://evil.example"
    with serving(installation.model_copy(update={"auth": "off"})) as server:
        for method, path in moves:
            for headers in (
                {"Origin": evil},
                {"Origin": "null"},
                {"Origin": evil, "Sec-Fetch-Site": "cross-site"},
                {"Origin": server.url, "Sec-Fetch-Site": "same-site"},
            ):
                told = problem_of(server.call(method, path, headers=headers), 403)
                assert "another origin" in told["detail"]
        for headers in (
            {},
            {"Origin": server.url},
            {"Origin": server.url, "Sec-Fetch-Site": "same-origin"},
            {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},  # of the settings
        ):
            put = server.call("PUT", "/api/v1/items/lamp", json={}, headers=headers)
            assert put.status_code in (200, 201)
        # Anybody may look, and pages may send events.
        assert server.get("/api/v1/users", headers={"Origin": evil}).status_code == 200
        sent = server.call(
            "POST", "/api/v1/interactions", content=b"{}",
            headers={"Origin": evil, "Content-Type": "text/plain"},
        )  # fmt: skip
        assert sent.status_code == 422


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("2130706433", False),
        ("", False),
        ("localhost.evil.example", False),
        ("127.0.0.1%evil.example", False),
        ("::1%lo", True),  # as sockets say it
    ],
)
def test_addresses_of_this_machine(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected
    scope: dict[str, Any] = {
        "type": "http",
        "scheme": "http",
        "http_version": "1.1",
        "client": (address, 1),
        "headers": [(b"host", b"[::1]:3000")],
    }
    assert is_local(scope) is expected
    assert not is_local({**scope, "client": None})
    assert not is_local({**scope, "headers": scope["headers"] * 2})


def audit(server: Server, since: int) -> list[tuple[str, str, dict[str, Any]]]:
    with connect(server.database) as connection:
        return connection.execute(
            "SELECT actor, action, detail FROM feed.audit_log WHERE id > %s ORDER BY id", (since,)
        ).fetchall()


def last_line(server: Server) -> int:
    with connect(server.database) as connection:
        row = connection.execute("SELECT coalesce(max(id), 0) FROM feed.audit_log").fetchone()
    assert row is not None
    return row[0]


def wait_until(expected: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not expected():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def noted(server: Server) -> int:
    """Its last line, once all calls that were made have theirs."""
    marker = uuid4().hex
    server.call("DELETE", f"/api/v1/items/{marker}", "admin")
    wait_until(lambda: marker in str(audit(server, 0)))
    return last_line(server)


def test_admin_calls_are_noted_and_name_no_user(required: Server) -> None:
    since = noted(required)
    required.call("PUT", "/api/v1/items/vase", "admin", json={})
    required.call("PUT", "/api/v1/users/jane.doe", "admin", json={})
    required.call("DELETE", "/api/v1/items/a%00b%ed%a0%80", "admin")
    required.call("POST", "/api/v1/admin/user-tokens", "admin", json={"user_id": "jane.doe"})
    for _ in range(3):
        required.call("DELETE", "/api/v1/items/vase", "read")
    required.call("DELETE", "/api/v1/users/jane.doe")
    required.get("/api/v1/profiles", "admin")  # not an admin call
    required.get("/wp-admin")

    def refusals() -> int:
        return sum(line[2].get("times", 0) for line in audit(required, since))

    wait_until(lambda: len(audit(required, since)) >= 6 and refusals() == 4)
    lines = audit(required, since)
    key_id = required.keys["admin"].split("_")[2]
    assert {actor for actor, _, _ in lines} == {
        f"a admin ({key_id})",
        f"a read ({required.keys['read'].split('_')[2]})",
        "nobody",
    }
    by_action = {(actor.split()[-1], action): detail for actor, action, detail in lines}
    put = by_action[f"({key_id})", "PUT /api/v1/items/{id}"]
    assert (put["path"], put["status"]) == ("/api/v1/items/vase", 201)
    assert put["request_id"]
    assert "user_sha256" in by_action[f"({key_id})", "PUT /api/v1/users/{user}"]
    assert "user_sha256" in by_action[f"({key_id})", "POST /api/v1/admin/user-tokens"]
    refused = next(d for a, _, d in lines if a.startswith("a read"))
    assert (refused["status"], refused["refused"]) == (403, True)
    assert "jane" not in str(lines)
    assert "fw_" not in str(lines)
    with connect(required.database) as connection:
        used = connection.execute(
            "SELECT last_used_at > now() - interval '1 minute' FROM feed.api_keys"
            " WHERE key_id = %s",
            (key_id,),
        ).fetchone()
    assert used == (True,)


def test_who_is_refused_what_is_only_looked_at_is_noted_too(required: Server) -> None:
    since = noted(required)
    assert required.get("/api/v1/admin/flags", "admin").status_code == 200
    watched = [
        (one.method, one.path)
        for one in openapi.ENDPOINTS
        if one.scope == "admin" and not one.audited
    ]
    assert len(watched) == 9
    for method, path in watched:
        problem_of(required.call(method, path), 401)
        problem_of(required.call(method, path, "read"), 403)
    wait_until(lambda: len(audit(required, since)) >= 2 * len(watched))
    lines = audit(required, since)
    assert {(line[1], line[2]["status"]) for line in lines} == {
        (f"{method} {path}", status) for method, path in watched for status in (401, 403)
    }
    assert all(line[2]["refused"] for line in lines)


def test_a_token_beside_an_admin_key_hides_nothing(required: Server) -> None:
    since = noted(required)
    headers = {"X-User-Token": required.token()}
    required.call("DELETE", f"/api/v1/users/{USER}x", "admin", headers=headers)
    required.get(f"/api/v1/users/{USER}/export", "admin", headers=headers)
    wait_until(lambda: len(audit(required, since)) >= 2)
    assert {line[1] for line in audit(required, since)} == {
        "DELETE /api/v1/users/{user}",
        "GET /api/v1/users/{user}/export",
    }


def test_limits_of_keys_and_of_users_with_a_token(installation: Settings) -> None:
    changes = {"auth": "required", "rate_limit_per_user": 3, "rate_limit_per_key": 5}
    settings = installation.model_copy(update=changes)
    with serving(settings) as server:
        token = server.token("busy")
        answers = [server.get("/api/v1/profiles", token) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        problem_of(answers[3], 429)
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
        assert answers[3].headers["ratelimit-policy"] == '"user";q=3;w=60'
        assert answers[3].headers["ratelimit"].startswith('"user";r=0;t=')
        answers = [server.get("/api/v1/profiles", "read") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert server.get("/api/v1/profiles", "admin").status_code == 200  # another key


def test_events_over_a_limit(installation: Settings) -> None:
    changes = {"auth": "required", "rate_limit_per_user": 2, "rate_limit_per_key": 12}
    with serving(installation.model_copy(update=changes)) as server:

        def send(count: int, key: str = "track", user_id: str = "eager") -> httpx.Response:
            event = {
                "user_id": user_id,
                "item_id": "i",
                "type": "view",
                "occurred_at": datetime.now(UTC).isoformat(),
            }
            events = [{**event, "event_id": str(uuid4())} for _ in range(count)]
            return server.call("POST", "/api/v1/interactions", key, json=events)

        for count, accepted in ((3, 2), (1, 0)):  # one left out of a batch, and all of one
            answer = send(count)
            assert answer.status_code == 202
            body = answer.json()
            over = body["results"][accepted:]
            assert (body["accepted"], body["rejected"]) == (accepted, len(over))
            assert {(one["outcome"], one["field"]) for one in over} == {("rejected", "user_id")}
            seconds = {one["retry_after"] for one in over}
            assert seconds == {int(answer.headers["retry-after"])}
            assert 1 <= min(seconds) <= 30
        with connect(server.database) as connection:  # they come again: they are not kept apart
            kept = connection.execute(
                "SELECT count(*) FROM feed.interactions_rejected WHERE raw LIKE '%\"eager\"%'"
            ).fetchone()
            own = make_key(connection, "track", "own", limit_per_key=50, limit_per_user=4)
        assert kept == (0,)
        problem_of(send(12), 429)  # the key's limit is the call's
        body = send(14, own, "forwarded").json()
        assert (body["accepted"], body["rejected"]) == (4, 10)


def test_web_pages_of_allowed_origins_may_call(required: Server) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-user-token",
    }
    answer = required.call("OPTIONS", "/api/v1/interactions", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in answer.headers
    for added in ("traceparent", "baggage,sentry-trace", "x-datadog-trace-id, X-B3-TraceId"):
        traced = asked | {"Access-Control-Request-Headers": f"content-type,{added}"}
        answer = required.call("OPTIONS", "/api/v1/interactions", headers=traced)
        assert answer.status_code == 200, answer.text
        assert added in answer.headers["access-control-allow-headers"]
    refused = required.get("/api/v1/feed", headers={"Origin": ORIGIN})
    problem_of(refused, 401)  # which the page may read
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    other = asked | {"Origin": "https://evil.example"}
    assert required.call("OPTIONS", "/api/v1/interactions", headers=other).status_code == 400
    read = required.get("/api/v1/profiles", "read", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in read.headers


@pytest.fixture
def postgres(_server: psycopg.Connection) -> psycopg.Connection:
    return _server


def test_known_keys_open_while_postgres_is_away(
    installation: Settings, postgres: psycopg.Connection
) -> None:
    settings = installation.model_copy(update={"auth": "required"})
    away = "ALTER DATABASE access ALLOW_CONNECTIONS "
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'access'"
    with serving(settings) as server:
        try:
            postgres.execute(away + "false")
            postgres.execute(ending)
            wait_until(lambda: not server.app.database.up)
            assert server.get("/api/v1/feed?user_id=u0001", "read").status_code == 200
            problem_of(server.get("/api/v1/feed", "fw_read_00000000_" + "x" * 43), 401)
            # the audit log waits, and nobody waits for it
            problem_of(server.call("PUT", "/api/v1/items/away", "admin", json={}), 503)
            time.sleep(0.5)
        finally:
            postgres.execute(away + "true")
        wait_until(lambda: any("items/away" in str(line) for line in audit(server, 0)))


def test_keys_that_were_known_open_a_server_that_starts_while_postgres_is_away(
    required: Server,
) -> None:
    file = required.settings.home / "serving" / "keys"
    assert file.stat().st_mode & 0o777 == 0o600
    assert not any(key.encode() in file.read_bytes() for key in required.keys.values())
    token = required.token()
    away = {"database_url": "postgresql://nobody@127.0.0.1:1/nothing"}
    with serving(required.settings.model_copy(update=away), keys=required.keys) as server:
        for key in ("read", token):
            assert server.get("/api/v1/feed?user_id=u0007", key).status_code == 200
        problem_of(server.get("/api/v1/feed", "fw_read_00000000_" + "x" * 43), 401)
    nothing = away | {"home": required.settings.home / "elsewhere"}
    with serving(required.settings.model_copy(update=nothing), keys=required.keys) as server:
        told = server.get("/api/v1/feed?user_id=u0007", "read")
        assert "database" in problem_of(told, 503)["detail"]
        assert told.headers["retry-after"] == "2"
        problem_of(server.get("/api/v1/feed", token), 503)


@pytest.mark.parametrize(
    "listed", ["*", "shop.example", "https://shop.example/", "https://", "https://Shop.example"]
)
def test_what_is_no_origin(listed: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=f"https://a.example, {listed}")


def test_settings_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(
        auth="required", cors_origins=f" {ORIGIN} ,http://localhost:5173", rate_limit_per_user=0
    )
    assert given.allowed_origins == (ORIGIN, "http://localhost:5173")
    for name, value in settings_environment(given).items():
        if name.startswith("FEEDWRIGHT_"):
            monkeypatch.setenv(name, value)
    assert Settings() == given


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("feed/nearby", {"lat": 1, "lon": 1, "user_id": "u0001"}),
        ("rank", {"item_ids": ["i0001"], "user_id": "u0001"}),
        ("recommend", {"user_ids": [USER, "u0001"]}),
    ],
)
def test_a_token_is_one_user_in_bodies_too(
    required: Server, path: str, body: dict[str, Any]
) -> None:
    problem_of(required.call("POST", f"/api/v1/{path}", required.token(), json=body), 403)


def test_a_database_that_is_not_migrated_yet(
    empty_database: str, installation: Settings, tmp_path: Path
) -> None:
    changes = {"auth": "required", "database_url": empty_database, "home": tmp_path}
    keys = {"read": "fw_read_00000000_" + "x" * 43}
    with serving(installation.model_copy(update=changes), keys=keys) as server:
        problem_of(server.get("/api/v1/profiles", "read"), 503)
        migrate(empty_database)
        with connect(empty_database, autocommit=True) as connection:
            key = make_key(connection, "read", "first")
        wait_until(lambda: server.get("/api/v1/profiles", key).status_code == 200)
