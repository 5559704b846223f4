"""What each call needs: the one table of it. A call that is not in it needs an admin key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from starlette.routing import compile_path

from serving.access.caller import Scope
from serving.http.paths import as_meant

Place = Literal["nowhere", "query", "path", "body"]
"""Where a call names its user. In a body the route looks, with ``require_user``."""
ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Rule:
    """
    Attributes:
        scope: what the caller needs; ``metrics``: see the setting ``metrics_public``.
        path: as in the table.
        audited: whether it is noted who calls.
        guarded: whether it is noted who was refused.
    """

    scope: Scope | Literal["metrics"]
    path: str
    user: Place = "nowhere"
    audited: bool = False
    guarded: bool = False


WATCHED: tuple[str, ...] = tuple(
    f"/api/v1/admin/{call}"
    for call in (
        "status", "metrics", "models", "guardrails", "experiments", "flags", "alerts", "audit",
    )
)  # fmt: skip
"""What the page of operators asks again and again, and says nothing about anybody: it is not noted
who reads it, only who was refused."""

# Methods, path, what is needed, where the user is named. Placeholders are those of the routes, in
# {id} an id; the first is what a call is about. {user} is not written to the audit log.
TABLE: tuple[tuple[tuple[str, ...], str, Scope | Literal["metrics"], Place], ...] = (
    (("GET",), "/", "public", "nowhere"),
    (("GET",), "/demo/{file}", "public", "nowhere"),
    (("GET",), "/admin", "public", "nowhere"),
    (("GET",), "/admin/{file}", "public", "nowhere"),
    (("GET",), "/docs", "public", "nowhere"),
    (("GET",), "/docs/{file}", "public", "nowhere"),
    (("GET",), "/tracker/{file}", "public", "nowhere"),
    (("GET",), "/api/v1/openapi.json", "public", "nowhere"),
    (("GET",), "/healthz", "public", "nowhere"),
    (("GET",), "/livez", "public", "nowhere"),
    (("GET",), "/readyz", "public", "nowhere"),
    (("GET",), "/metrics", "metrics", "nowhere"),
    (("POST",), "/api/v1/interactions", "track", "body"),
    (("POST",), "/api/v1/feed/interactions/{id}", "track", "query"),
    (("GET",), "/api/v1/feed", "read", "query"),
    (("GET",), "/api/v1/feed/trending", "read", "query"),
    (("GET",), "/api/v1/feed/similar/{id}", "read", "query"),
    (("POST",), "/api/v1/feed/nearby", "read", "body"),
    (("POST",), "/api/v1/rank", "read", "body"),
    (("POST",), "/api/v1/recommend", "read", "body"),
    (("GET",), "/api/v1/recommendations/{user}", "read", "path"),
    (("GET",), "/api/v1/features/users/{user}", "read", "path"),
    (("GET",), "/api/v1/features/pairs/{user:first_id}/{item}", "read", "path"),
    (("GET",), "/api/v1/features/items/{id}", "read", "nowhere"),
    (("GET",), "/api/v1/profiles", "read", "nowhere"),
    (("GET",), "/api/v1/reasons", "read", "nowhere"),
    (("GET",), "/api/v1/status", "read", "nowhere"),
    (("GET",), "/api/v1/experiments", "read", "query"),
    (("GET",), "/api/v1/items", "read", "nowhere"),
    (("GET",), "/api/v1/items/{id}", "read", "nowhere"),
    (("GET",), "/api/v1/owners/{id}", "read", "nowhere"),
    (("GET", "PATCH"), "/api/v1/feed/preferences", "preferences", "query"),
    (("POST",), "/api/v1/items:bulk", "admin", "nowhere"),
    (("PUT", "PATCH", "DELETE"), "/api/v1/items/{id}", "admin", "nowhere"),
    (("POST",), "/api/v1/owners:bulk", "admin", "nowhere"),
    (("PUT", "PATCH", "DELETE"), "/api/v1/owners/{id}", "admin", "nowhere"),
    (("GET",), "/api/v1/users", "admin", "nowhere"),
    (("POST",), "/api/v1/users:bulk", "admin", "nowhere"),
    (("GET",), "/api/v1/users/{user}/export", "admin", "path"),
    (("GET", "PUT", "PATCH", "DELETE"), "/api/v1/users/{user}", "admin", "path"),
    *((("GET",), path, "admin", "nowhere") for path in WATCHED),
    (ANY, "/api/v1/admin/{call}", "admin", "nowhere"),
)  # fmt: skip
UNLISTED = Rule("admin", "", audited=False)

_BARE = re.compile(r"{(\w+)}")

_exact: dict[tuple[str, str], Rule] = {}
_open: dict[str, list[tuple[re.Pattern[str], Rule]]] = {method: [] for method in ANY}
for _methods, _path, _scope, _user in TABLE:
    _guarded = _scope in ("admin", "preferences")
    _audited = _guarded and _path not in WATCHED
    _rule = Rule(_scope, _path, _user, audited=_audited, guarded=_guarded)
    for _method in _methods:
        if "{" in _path:
            _open[_method].append((compile_path(_BARE.sub(r"{\1:id}", _path))[0], _rule))
        else:
            _exact[_method, _path] = _rule


def find(method: str, path: str) -> tuple[Rule, str]:
    """The rule of a call, and what stands for the first placeholder of its path.

    Args:
        path: as the routes see it, see ``serving.http.paths.as_routed``.
    """
    if method == "HEAD":
        method = "GET"
    rule = _exact.get((method, path))
    if rule is not None:
        return rule, ""
    for pattern, rule in _open.get(method, ()):
        found = pattern.match(path)
        if found:
            return rule, as_meant(found[1])
    return UNLISTED, ""
