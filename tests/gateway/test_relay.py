"""The gateway before a console, over real sockets."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from tests.gateway.running import MIB, World, world

PROTOCOLS = [Subprotocol("graphql-ws")]


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture
def client(here: World) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=here.url, trust_env=False, timeout=30) as found:
        yield found


def test_a_call_arrives_as_it_was_sent(client: httpx.Client, here: World) -> None:
    own = {"Origin": here.url, "X-Mine": "1", "Connection": "keep-alive, x-hop", "X-Hop": "1"}
    told = client.request("DELETE", "/a%2Fb/ü?q=%20&q=+", headers=own).json()
    assert told["target"] == "/a%2Fb/%C3%BC?q=%20&q=+"
    assert told["method"] == "DELETE"
    assert told["headers"]["host"] == here.url.removeprefix("http://")
    assert told["headers"]["x-mine"] == "1"
    assert not told["headers"].keys() & {"origin", "x-hop", "transfer-encoding"}


def test_an_answer_is_passed_on_as_it_comes(client: httpx.Client) -> None:
    with client.stream("GET", "/slow") as answer:
        assert answer.headers["set-cookie"] == "a=b"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert len(answer.headers.get_list("date")) == 1
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"
        client.get("/go")
        assert b"".join(pieces) == b"second"


@pytest.mark.parametrize("chunked", [True, False])
def test_large_bodies_go_up_and_down_in_pieces(client: httpx.Client, chunked: bool) -> None:
    pieces = (b"x" * MIB for _ in range(40))
    told = client.put("/count", content=pieces if chunked else b"x" * 40 * MIB).json()
    assert told["bytes"] == 40 * MIB
    assert told["largest"] <= MIB
    assert len(client.get("/large", params={"mib": 40}).content) == 40 * MIB


def test_a_caller_that_leaves_does_not_look_like_the_end(here: World) -> None:
    host = here.url.removeprefix("http://")
    with socket.create_connection((host.split(":")[0], int(host.split(":")[1]))) as caller:
        caller.sendall(
            f"PUT /count HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n12".encode()
        )
    with httpx.Client(base_url=here.url, trust_env=False) as client:  # and does no harm
        assert client.get("/").is_success


def test_an_answer_that_breaks_off_breaks_off_here_too(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/broken")


def test_a_console_that_is_away(here: World) -> None:
    answer = httpx.get(here.away_url, trust_env=False)
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert "feedwright logs mlflow" in answer.json()["detail"]
    assert httpx.get(f"{here.away_url}/-/healthy", trust_env=False).status_code == 200
    with pytest.raises(InvalidStatus) as caught:
        connect(f"{here.away_url.replace('http', 'ws')}/graphql", proxy=None)
    assert caught.value.response.status_code == 502


def test_who_is_refused_is_told_and_reaches_nothing(client: httpx.Client, here: World) -> None:
    before = len(here.console.seen)
    for headers in ({"Host": "10.0.0.1"}, {"Origin": "http://127.0.0.1:1"}):
        answer = client.post("/graphql", content=b"{}", headers=headers)
        assert answer.status_code == 403
        assert answer.json()["status"] == 403
    assert len(here.console.seen) == before


def test_a_caller_of_http_1_0_without_a_name_is_refused(here: World) -> None:
    host, port = here.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert answer.status == 403


def test_a_websocket_both_ways(here: World) -> None:
    address = f"{here.url.replace('http', 'ws')}/graphql"
    own = Origin(here.url)
    with connect(address, subprotocols=PROTOCOLS, origin=own, proxy=None, max_size=None) as page:
        assert page.subprotocol == "graphql-ws"
        for text in ("ü", "x" * 3 * MIB):
            page.send(text)
            assert page.recv(timeout=10) == text
            assert page.recv(timeout=10) == text.encode()
        page.send("leave")
        with pytest.raises(ConnectionClosed) as caught:
            page.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 4000


def test_a_websocket_of_another_page_is_refused(here: World) -> None:
    before = len(here.console.seen)
    address = f"{here.url.replace('http', 'ws')}/graphql"
    for origin in ("http://127.0.0.1:1", "null"):
        with pytest.raises(InvalidStatus) as caught:
            connect(address, subprotocols=PROTOCOLS, origin=Origin(origin), proxy=None)
        assert caught.value.response.status_code == 403
    assert len(here.console.seen) == before
