"""Whether a request comes from this very machine, and from no web page of somebody else's.

An address alone does not say so: a web page makes the browser of whoever visits it call
127.0.0.1 (by a form, a script, or a name of its own that it lets point there: DNS rebinding),
and a proxy's calls all come from the proxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from ipaddress import ip_address

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
    headers = {name: value for name, value in scope["headers"] if name in _SENT_BY_BROWSERS}
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") in allowed:
        return False
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in _OWN_PAGES
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")


@lru_cache(1_000)
def is_loopback(address: str) -> bool:
    """Whether an address, or the name localhost, is of this machine alone."""
    if address == "localhost":
        return True
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


@cache
def listens_on_loopback_alone() -> bool:
    """Whether no socket of this process takes connections from other machines. Asked when the
    first request is there, so the sockets are open."""
    return all(
        is_loopback(connection.laddr[0])
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    )


@lru_cache(1_000)
def _is_loopback_host(host: bytes) -> bool:
    """Of a ``Host`` header, with or without a port."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = name.partition(":")
    return (port == "" or port.isdecimal()) and is_loopback(name)
