"""Alerts reach a real receiver, which is away or refuses at first."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest

from going_live import alerts
from going_live.alerts import Sent, raise_alert, send_due
from storage.postgres.database import connect
from storage.settings import Settings

SECRET = "a secret of two"


@dataclass
class Receiver:
    """Answers with ``answers`` in turn, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    slow_seconds: float = 0.0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            time.sleep(made.slow_seconds)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(({name.lower(): text for name, text in self.headers.items()}, body))
            self.send_response(made.answers.pop(0) if made.answers else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/hook"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def hooked(settings: Settings, receiver: Receiver) -> Settings:
    return Settings(
        **settings.model_dump(exclude_none=True)
        | {"webhook_url": receiver.url, "webhook_secret": SECRET, "environment": "staging"}
    )


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database) as connection:
        yield connection


def make_due(conn: psycopg.Connection) -> None:
    conn.execute("UPDATE feed.alerts SET next_try_at = now()")
    conn.commit()


def row(conn: psycopg.Connection, id: int) -> tuple[int, bool, bool, str | None, float]:
    """Attempts, delivered, given up, last error, seconds to the next try."""
    found = conn.execute(
        "SELECT attempts, delivered_at IS NOT NULL, given_up_at IS NOT NULL, last_error,"
        " extract(epoch FROM next_try_at - now())::float8 FROM feed.alerts WHERE id = %s",
        (id,),
    ).fetchone()
    conn.commit()
    assert found is not None
    return found


def test_after_the_clock_was_set_back_alerts_are_sent_at_once(
    conn: psycopg.Connection, hooked: Settings, receiver: Receiver
) -> None:
    id = raise_alert(conn, "rollback", "critical", "Version 7 rolled back", {"version": "7"})
    conn.commit()
    receiver.answers = [503]
    assert send_due(conn, hooked) == Sent(failed=1)
    conn.execute(
        "UPDATE feed.alerts SET raised_at = raised_at + interval '1 day',"
        " next_try_at = next_try_at + interval '1 day'"
    )
    conn.commit()
    assert send_due(conn, hooked) == Sent(delivered=1)
    assert row(conn, id)[:2] == (2, True)
    sent = int(receiver.got[-1][0]["x-feedwright-timestamp"])
    assert abs(sent - time.time()) < 60, "each try is signed with the time of now"


def test_after_the_clock_went_ahead_alerts_are_neither_lost_nor_sent_twice(
    conn: psycopg.Connection, hooked: Settings, receiver: Receiver
) -> None:
    raise_alert(conn, "rollback", "critical", "Version 7 rolled back", {"version": "7"})
    conn.execute(
        "UPDATE feed.alerts SET raised_at = raised_at - interval '1 day',"
        " next_try_at = next_try_at - interval '1 day'"
    )
    conn.commit()
    assert send_due(conn, hooked) == Sent(delivered=1)
    assert send_due(conn, hooked) == Sent()


def test_what_the_receiver_refuses_is_sent_again_later_and_once_only(
    conn: psycopg.Connection, hooked: Settings, receiver: Receiver
) -> None:
    id = raise_alert(conn, "rollback", "critical", "Version 7 <rolled> back", {"version": "7"})
    conn.commit()
    receiver.answers = [503, 500]
    assert send_due(conn, hooked) == Sent(failed=1)
    assert send_due(conn, hooked) == Sent(), "it is not due yet"
    attempts, delivered, _, error, wait = row(conn, id)
    assert (attempts, delivered, error) == (1, False, "the receiver answers 503")
    assert 10 < wait <= 30
    make_due(conn)
    assert send_due(conn, hooked) == Sent(failed=1)
    assert 25 < row(conn, id)[4] <= 60
    make_due(conn)
    assert send_due(conn, hooked) == Sent(delivered=1)
    make_due(conn)
    assert send_due(conn, hooked) == Sent()
    assert row(conn, id)[:4] == (3, True, False, None)

    first, _, last = receiver.bodies
    assert first["attempt"] == 1
    assert last["attempt"] == 3
    assert last["text"] == "[critical] Version 7 &lt;rolled&gt; back (staging)\nversion: 7"
    assert last["severity"] == "critical"
    assert last["detail"] == {"version": "7"}
    assert len({headers["x-feedwright-delivery"] for headers, _ in receiver.got}) == 1
    assert last["delivery"] == receiver.got[0][0]["x-feedwright-delivery"]


def test_the_signature_is_of_time_and_body(
    conn: psycopg.Connection, hooked: Settings, receiver: Receiver
) -> None:
    raise_alert(conn, "test", "info", "Grüße", {})
    conn.commit()
    send_due(conn, hooked)
    headers, body = receiver.got[0]
    stamp = headers["x-feedwright-timestamp"]
    expected = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256)
    assert headers["x-feedwright-signature"] == f"sha256={expected.hexdigest()}"
    assert abs(time.time() - int(stamp)) < 120
    raise_alert(conn, "test", "info", "unsigned", {})
    conn.commit()
    send_due(conn, hooked.model_copy(update={"webhook_secret": None}))
    assert "x-feedwright-signature" not in receiver.got[1][0]


def test_two_senders_never_post_one_alert_twice_at_once(
    conn: psycopg.Connection, hooked: Settings, receiver: Receiver, database: str
) -> None:
    for number in range(12):
        raise_alert(conn, "test", "info", f"number {number}", {})
    conn.commit()
    receiver.slow_seconds = 0.03

    def send() -> Sent:
        with connect(database) as own:
            return send_due(own, hooked)

    with ThreadPoolExecutor(3) as threads:
        sent = [future.result() for future in [threads.submit(send) for _ in range(3)]]
    assert sum(one.delivered for one in sent) == 12
    assert sum(one.delivered > 0 for one in sent) > 1, "the others waited"
    assert sorted(body["title"] for body in receiver.bodies) == sorted(
        f"number {number}" for number in range(12)
    )


def test_a_receiver_that_is_away_ends_the_round_and_in_the_end_it_is_given_up(
    conn: psycopg.Connection, hooked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Settings(**hooked.model_dump(exclude_none=True) | {"webhook_url": "http://127.0.0.1:9/"})
    ids = [raise_alert(conn, "test", "warning", str(number), {}) for number in range(2)]
    conn.commit()
    assert send_due(conn, away) == Sent(failed=1), "the second one is not tried in vain"
    assert "ConnectError" in (row(conn, ids[0])[3] or "")
    assert row(conn, ids[1])[0] == 0
    monkeypatch.setattr(alerts, "MAX_TRIES", 2)
    make_due(conn)
    conn.execute("UPDATE feed.alerts SET delivered_at = now() WHERE id = %s", (ids[1],))
    conn.commit()
    assert send_due(conn, away) == Sent(given_up=1)
    assert row(conn, ids[0])[2]
    make_due(conn)
    assert send_due(conn, hooked) == Sent(), "what was given up stays so"


def test_the_wait_grows_to_an_hour() -> None:
    waits = [[alerts._wait(attempts) for _ in range(200)] for attempts in range(alerts.MAX_TRIES)]
    assert 15 <= min(waits[0]) < max(waits[0]) <= 30
    assert 1800 <= min(waits[-1]) < max(waits[-1]) <= 3600


def test_an_alert_is_of_the_transaction_that_raised_it_and_none_is_kept_for_nobody(
    conn: psycopg.Connection, settings: Settings
) -> None:
    raise_alert(conn, "test", "info", "never happened", {})
    conn.rollback()
    id = raise_alert(conn, "test", "info", "happened", {})
    conn.commit()
    assert send_due(conn, settings) == Sent(given_up=1)
    assert row(conn, id)[:4] == (0, False, True, alerts.NOWHERE)
