"""What each call needs, by its declaration. A call without one needs an admin key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.routing import compile_path

from serving.http.endpoints import Endpoint, Needed, UserIn
from serving.http.paths import as_meant

_FIRST = re.compile(r"{\w+}")


@dataclass(frozen=True)
class Rule:
    """
    Attributes:
        scope: what the caller needs.
        path: with placeholders; the first is what a call is about. {user} is not written to the
            audit log.
        audited: whether it is noted who calls.
        guarded: whether it is noted who was refused.
    """

    scope: Needed
    path: str
    user: UserIn = "nowhere"
    audited: bool = False
    guarded: bool = False

    @classmethod
    def of(cls, endpoint: Endpoint) -> Rule:
        path = endpoint.template
        if endpoint.user == "path":
            path = _FIRST.sub("{user}", path, count=1)
        guarded = endpoint.scope in ("admin", "preferences")
        return cls(endpoint.scope, path, endpoint.user, endpoint.audited, guarded)


UNDECLARED = Rule("admin", "")
ADMIN = "/api/v1/admin/"
UNDECLARED_ADMIN = Rule("admin", f"{ADMIN}{{call}}", audited=True, guarded=True)


class Rules:
    """The rules of the calls that are declared."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        """
        Args:
            endpoints: in the order of their routes.
        """
        self._exact: dict[tuple[str, str], Rule] = {}
        self._open: dict[str, list[tuple[re.Pattern[str], Rule]]] = {}
        for endpoint in endpoints:
            rule = Rule.of(endpoint)
            if "{" in endpoint.path:
                pattern = compile_path(endpoint.path)[0]
                self._open.setdefault(endpoint.method, []).append((pattern, rule))
            else:
                self._exact[endpoint.method, endpoint.path] = rule

    def find(self, method: str, path: str) -> tuple[Rule, str]:
        """The rule of a call, and what stands for the first placeholder of its path.

        Args:
            path: as the routes see it, see ``serving.http.paths.as_routed``.
        """
        if method == "HEAD":
            method = "GET"
        rule = self._exact.get((method, path))
        if rule is not None:
            return rule, ""
        for pattern, rule in self._open.get(method, ()):
            match = pattern.match(path)
            if match:
                return rule, as_meant(match[1])
        if path.startswith(ADMIN):
            # What follows may be anybody's id.
            return UNDECLARED_ADMIN, path.removeprefix(ADMIN).partition("/")[0]
        return UNDECLARED, ""
