"""Where a request comes from: this very machine, a program, one of our pages, or another's page.

An address alone does not say so: a web page makes the browser of whoever visits it call
127.0.0.1 (by a form, a script, or a name of its own that it lets point there: DNS rebinding),
and a proxy's calls all come from the proxy. ``Host``, ``Origin`` and ``Sec-Fetch-Site`` say so:
no page can choose what its browser sends there. The rule is one for the consoles, which the
gateway guards with ``refusal``, and for the feed service, which guards itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from ipaddress import ip_address
from posixpath import normpath
from urllib.parse import unquote_plus

import psutil
from starlette.types import Scope

_PROXIES = (
    b"forwarded",
    b"via",
    b"x-forwarded",  # and x-forwarded-for, -host, …
    b"x-real-ip",
    b"x-client-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
)
_SENT_BY_BROWSERS = (b"host", b"origin", b"sec-fetch-site")
_OWN_PAGES = (b"same-origin", b"none")
"""Values of Sec-Fetch-Site; ``none``: somebody typed the address."""
_CALLS = ("/graphql", "/api/", "/ajax-api/", "/gateway/")
"""Paths of the consoles that are no pages: no link of another page may open them."""


def refusal(scope: Scope, hosts: Collection[str]) -> str | None:
    """Why a console must not answer, as a sentence; None: it may.

    Programs may, and so may the console's own pages. Other pages may only open a page of the
    console in a tab, as a link does.

    Args:
        scope: of an HTTP request or of a WebSocket's handshake.
        hosts: names of this server besides loopback and the address that was called.
    """
    headers = _values(scope, *_SENT_BY_BROWSERS, b"sec-fetch-mode", b"sec-fetch-dest")
    if not is_known_host(scope, hosts):
        host = b", ".join(headers[b"host"]).decode("latin-1")[:100]
        return (
            f"Host {host!r} is no name of this server. If it is yours, list it in "
            "FEEDWRIGHT_ALLOWED_HOSTS."
        )
    is_read, path = scope.get("method") in ("GET", "HEAD"), _plain(scope["path"])
    if is_read and path.startswith("/graphql") and _changes_something(scope["query_string"]):
        return "A GraphQL mutation must be sent by POST."
    if (
        is_read
        and headers[b"sec-fetch-mode"] == [b"navigate"]
        and headers[b"sec-fetch-dest"] == [b"document"]
        and not f"{path}/".startswith(_CALLS)
    ):
        return None
    if is_from_another_page(scope):
        return (
            "A page of another origin may not call this one. Behind a proxy, pass the Host that "
            "the browser sent on."
        )
    return None


def is_known_host(scope: Scope, hosts: Collection[str]) -> bool:
    """Whether ``Host``, sent once, is loopback, the address that was called, or in ``hosts``."""
    sent = _values(scope, b"host")[b"host"]
    if len(sent) != 1:
        return False
    name = _name_of(sent[0])
    server = scope.get("server")
    return name is not None and (
        is_loopback(name) or name in hosts or (server is not None and name == server[0])
    )


def _plain(path: str) -> str:
    """As the servers behind may read it: they merge slashes and drop a line feed at the end."""
    return "/" + normpath(path.strip()).lstrip("/")


def _changes_something(query: bytes) -> bool:
    """Whether a GraphQL document in a query string holds a mutation: old browsers, and those
    that speak plain HTTP to another machine, do not say which page an image is asked for by."""
    return "mutation" in unquote_plus(query.decode("latin-1"))


def _values(scope: Scope, *names: bytes) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {name: [] for name in names}
    for name, value in scope["headers"]:
        if name in values:
            values[name].append(value)
    return values


def is_local(scope: Scope) -> bool:
    """Whether a program of this machine, or a page of this very server, makes the request.

    So the peer is loopback; ``Host`` is a name of loopback; the request did not come through
    a proxy that says so, or in HTTP/1.0, which proxies use when nothing else is configured; and
    a browser that sends it says that the page is of the same origin.
    """
    client = scope.get("client")
    if not client or not is_loopback(client[0]) or scope["http_version"] == "1.0":
        return False
    hosts = origins = 0
    host = origin = b""
    for name, value in scope["headers"]:
        if name == b"host":
            hosts += 1
            host = value
        elif name == b"origin":
            origins += 1
            origin = value
        elif name == b"sec-fetch-site":
            if value not in _OWN_PAGES:
                return False
        elif name.startswith(_PROXIES):
            return False
    if hosts != 1 or not _is_loopback_host(host):
        return False
    return origins == 0 or origin == scope["scheme"].encode() + b"://" + host


def is_from_another_page(scope: Scope, allowed: Sequence[str] = ()) -> bool:
    """Whether a browser makes the request for a page of another origin that is not ``allowed``.

    Programs say neither ``Sec-Fetch-Site`` nor ``Origin``; browsers say the first to TLS and
    to loopback, and the second with whatever is no GET.
    """
    headers = _values(scope, *_SENT_BY_BROWSERS)
    origins, hosts = headers[b"origin"], headers[b"host"]
    if origins and all(origin.decode("latin-1") in allowed for origin in origins):
        return False
    if any(site not in _OWN_PAGES for site in headers[b"sec-fetch-site"]):
        return True
    return any([origin.partition(b"://")[2]] != hosts for origin in origins)


@lru_cache(1_000)
def is_loopback(address: str) -> bool:
    """Whether an address, or the name localhost, is of this machine alone."""
    if address == "localhost":
        return True
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


@cache
def listens_on_loopback_alone() -> bool:
    """Whether no socket of this process takes connections from other machines. Asked when the
    first request is there, so the sockets are open."""
    return all(
        is_loopback(connection.laddr[0])
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    )


def _is_loopback_host(host: bytes) -> bool:
    name = _name_of(host)
    return name is not None and is_loopback(name)


@lru_cache(1_000)
def _name_of(host: bytes) -> str | None:
    """The name in a ``Host`` header, without its port; None: it is not well formed. A zone
    (``::1%lo``) belongs to sockets, and no browser sends one."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = name.partition(":")
    return name if "%" not in name and (port == "" or port.isdecimal()) else None
