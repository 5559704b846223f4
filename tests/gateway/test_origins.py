"""Whom the consoles answer, by what is sent with a call."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Scope

from gateway.origins import refusal

OWN = "127.0.0.1:3001"


def call(*headers: tuple[str, str], method: str = "GET", target: str = "/", **more: Any) -> Scope:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "server": ("192.168.1.5", 3001),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        **more,
    }


@pytest.mark.parametrize(
    "host",
    [OWN, "localhost", "LOCALHOST:9", "[::1]:3001", "192.168.1.5:3001", "dagster.example:443"],
)
def test_names_of_this_server(host: str) -> None:
    assert refusal(call(("host", host)), {"dagster.example"}) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "10.0.0.1",
        "10.evil.example",
        "192.168.1.6:3001",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.dagster.example",
        "localhost:x",
        "localhost@evil.example",
        "127.0.0.1%evil.example",
        "[::1%evil.example]",
        "",
    ],
)
def test_other_names_are_refused_with_the_fix(host: str) -> None:
    told = refusal(call(("host", host)), {"dagster.example"})
    assert told is not None
    assert "FEEDWRIGHT_ALLOWED_HOSTS" in told
    assert refusal(call(), ()) is not None
    assert refusal(call(("host", OWN), ("host", host)), ()) is not None


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "http://127.0.0.1:3000")],  # another port is another page
        [("origin", "http://localhost:3001")],
        [("origin", "null")],
        [("origin", ""), ("sec-fetch-site", "same-origin")],
        [("origin", f"http://{OWN}"), ("origin", "https://evil.example")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site"), ("origin", f"http://{OWN}")],
        [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
    ],
)
def test_pages_of_other_origins_are_refused(kind: str, headers: list[tuple[str, str]]) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        scope = call(("host", OWN), *headers, method=method, type=kind)
        assert "another origin" in (refusal(scope, ()) or "")


@pytest.mark.parametrize(
    "headers",
    [
        [],  # a program
        [("origin", f"http://{OWN}"), ("sec-fetch-site", "same-origin")],
        [("origin", f"https://{OWN}")],  # a proxy that ends TLS
        [("sec-fetch-site", "none")],  # somebody typed the address
    ],
)
def test_programs_and_own_pages_may(headers: list[tuple[str, str]]) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert refusal(call(("host", OWN), *headers, method=method), ()) is None


LINK = (("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"))


def test_a_link_of_another_page_opens_a_page_and_does_nothing() -> None:
    def told(target: str, *, to: str = "document", method: str = "GET") -> str | None:
        headers = (("host", OWN), *LINK, ("sec-fetch-dest", to))
        return refusal(call(*headers, target=target, method=method), ())

    assert told("/runs/1?tab=logs") is None
    for calls in ("/graphql", "/api/2.0/x", "/ajax-api/2.0/x", "//ajax-api/2.0/x", "/x/../api/2",
                  "/./graphql", "/graphql\n", "/graphql/"):  # fmt: skip
        assert told(calls) is not None
    assert told("/", to="iframe") is not None
    assert told("/", method="POST") is not None


@pytest.mark.parametrize("written", ["mutation", "%6dutation", "{a} mutation X"])
def test_nothing_is_changed_by_get(written: str) -> None:
    target = f"/graphql?query={written}{{launchRun}}"
    for path in ("/graphql\n", "//graphql", "/graphql/"):
        odd = call(("host", OWN), target=target.replace("/graphql", path))
        assert "POST" in (refusal(odd, ()) or "")
    assert "POST" in (refusal(call(("host", OWN), target=target), ()) or "")
    assert refusal(call(("host", OWN), target=target, method="POST"), ()) is None
    assert refusal(call(("host", OWN), target="/graphql?query={version}"), ()) is None
