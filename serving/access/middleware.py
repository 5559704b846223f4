"""Stands before all routes: who calls, whether they may, and how often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.origins import (
    is_from_another_page,
    is_known_host,
    is_local,
    is_loopback,
    listens_on_loopback_alone,
)
from serving.access import caller as callers
from serving.access import limits as limiting
from serving.access.audit import AuditLog
from serving.access.caller import EVERYTHING, LOCAL, NOBODY, UNGUARDED, Caller, forbidden_user
from serving.access.cors import cors
from serving.access.keys import KeyRing
from serving.access.limits import Buckets, Limits
from serving.access.rules import Rule, Rules
from serving.access.tokens import BadToken
from serving.http.endpoints import Endpoint
from serving.http.problems import problem
from serving.postgres.database import Database, DatabaseAway
from storage.settings import Settings

RELOAD_SECONDS = 3.0
FLUSH_SECONDS = 1.0
AUDIT_DETAIL = "feedwright.audit"
"""Key in an ASGI scope of what a route wants to add to the line about its call."""
REALM = 'Bearer realm="feedwright"'


class Access:
    """The access control of one worker: ``middleware`` for the application, ``run`` beside it.

    Attributes:
        ring: keys and secrets.
    """

    def __init__(
        self, settings: Settings, database: Database, endpoints: Iterable[Endpoint]
    ) -> None:
        self.ring = KeyRing(database, settings.home / "serving" / "keys")
        self._settings = settings
        self._rules = Rules(endpoints)
        self._audit = AuditLog(database)
        self._on_loopback = is_loopback(settings.host)
        self._limits: Limits | None = None

    def middleware(self) -> list[Middleware]:
        """For Starlette, outermost first: a page of an allowed origin may read refusals too."""
        return [*cors(self._settings.allowed_origins), Middleware(_Guard, access=self)]

    async def open(self) -> None:
        """Before the first request, and after a fork."""
        self._limits = Limits(
            Buckets(self._settings.home / "serving" / "limits-1"),
            self._settings.rate_limit_per_user,
            self._settings.rate_limit_per_key,
        )
        await self.ring.open()

    async def run(self) -> None:
        """Keep keys as they are in Postgres, and write the audit log, for ever."""
        reload_at = time.monotonic() + RELOAD_SECONDS
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._audit.flush()
            if time.monotonic() >= reload_at:
                reload_at = time.monotonic() + RELOAD_SECONDS
                with suppress(DatabaseAway):
                    await self.ring.reload()

    async def close(self) -> None:
        """Write what is left to write. Call it before the database is closed."""
        await self._audit.flush()
        with suppress(DatabaseAway):
            await self.ring.reload()  # notes when keys were used
        if self._limits is not None:
            self._limits.buckets.close()

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the call on to the routes, or refuse it."""
        rule, text = self._rules.find(scope["method"], scope["path"])
        scope[limiting.STATE] = self._limits
        scope[callers.STATE] = caller = NOBODY
        if rule.scope != "public":
            try:
                caller = await self._caller(scope, rule)
                scope[callers.STATE] = caller
                self._check(scope, rule, text, caller)
            except HTTPException as error:
                if rule.guarded:
                    self._audit.count_refused(
                        caller.actor, scope["method"], rule, error.status_code
                    )
                refused = problem(
                    Request(scope),
                    error.status_code,
                    error.detail,
                    headers=dict(error.headers or {}),
                )
                await refused(scope, receive, send)
                return
        # What users do with their own preferences is theirs.
        if rule.audited and (rule.scope == "admin" or caller.user_id is None):
            await self._audited(app, scope, receive, send, rule, text, caller)
        else:
            await app(scope, receive, send)

    async def _audited(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        rule: Rule,
        text: str,
        caller: Caller,
    ) -> None:
        status: int | None = None
        detail: dict[str, Any] = {}
        scope[AUDIT_DETAIL] = detail

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, watched)
        finally:
            self._audit.note(
                caller.actor,
                scope["method"],
                rule,
                text,
                status=status,
                request_id=scope.get("feedwright.request_id"),
                **detail,
            )

    async def _caller(self, scope: Scope, rule: Rule) -> Caller:
        """Who calls.

        Raises:
            HTTPException: 401, nobody that is known; 403, a key where it must not be;
                503, nobody can be known yet.
        """
        mode = self._settings.auth
        if mode == "off":
            self._check_page(scope, rule)
            return UNGUARDED
        given = _credentials(scope, rule)
        if given.key is None and given.token is None:
            if self._is_trusted(scope, rule, mode):
                return LOCAL
            raise _unauthorized(
                "Send a key as `Authorization: Bearer …` or `X-Api-Key: …`"
                + (", or as ?key=…" if rule.scope == "track" else "")
                + "; `feedwright keys make` makes one."
            )
        caller = Caller(frozenset(), "token")
        if given.key is not None:
            caller = await self._by_key(given.key)
            if given.key_in_query and caller.scopes != {"track"}:
                raise HTTPException(
                    403,
                    "Only track keys may be sent as ?key=…: addresses are logged on the way. "
                    "Revoke this key.",
                )
        if given.token is not None:
            try:
                claims = await self.ring.read(given.token)
            except BadToken as error:
                self._must_be_loaded()
                raise _unauthorized(
                    f"The user token cannot be used: {error}.", "invalid_token"
                ) from error
            caller = Caller(
                caller.scopes | claims.scopes, caller.actor, caller.key_id, claims.user_id
            )
        return caller

    def _check_page(self, scope: Scope, rule: Rule) -> None:
        """Where no key is asked for, a browser that may reach us would do what any page that it
        shows wants: a form needs nobody's leave to be sent, and a name that was made to point
        here lets a page read too.

        Raises:
            HTTPException: 403, a name that is none of this machine, which alone may call; an
                admin call of a page of another origin.
        """
        alone = self._on_loopback and listens_on_loopback_alone()
        if alone and not is_known_host(scope, self._settings.allowed_host_names):
            raise HTTPException(
                403,
                "Host is no name of this server. If it is yours, list it in "
                "FEEDWRIGHT_ALLOWED_HOSTS.",
            )
        if rule.scope != "admin" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return
        if is_from_another_page(scope, self._settings.allowed_origins):
            raise HTTPException(
                403,
                "A page of another origin may not do this. Behind a proxy that changes Host, list "
                "your own origin in FEEDWRIGHT_CORS_ORIGINS.",
            )

    async def _by_key(self, key: str) -> Caller:
        record = await self.ring.find(key)
        if record is None:
            self._must_be_loaded()
            raise _unauthorized("There is no such key, or it was revoked.", "invalid_token")
        return Caller(
            EVERYTHING if record.scope == "admin" else frozenset({record.scope}),
            f"{record.name} ({record.key_id})",
            record.key_id,
            needs_token=record.needs_token,
            limit_per_key=record.limit_per_key,
            limit_per_user=record.limit_per_user,
        )

    def _must_be_loaded(self) -> None:
        if not self.ring.loaded:
            raise HTTPException(
                503,
                "Keys cannot be read: the database does not answer. Try again.",
                {"Retry-After": "2"},
            )

    def _is_trusted(self, scope: Scope, rule: Rule, mode: str) -> bool:
        """Whether the call needs no key because of where it comes from."""
        if rule.scope == "metrics" and self._settings.metrics_public is not None:
            return self._settings.metrics_public
        return (
            (mode == "auto" or rule.scope == "metrics")
            and self._on_loopback
            and is_local(scope)
            and listens_on_loopback_alone()
        )

    def _check(self, scope: Scope, rule: Rule, text: str, caller: Caller) -> None:
        """
        Raises:
            HTTPException: 403, the caller may not do this; 429, not so often.
        """
        needed = "admin" if rule.scope == "metrics" else rule.scope
        if not caller.may(needed):
            have = ", ".join(sorted(caller.scopes)) or "nothing"
            what = "an admin key, or the user's own token" if needed == "preferences" else needed
            raise HTTPException(
                403,
                f"This call needs {what}; you may: {have}.",
                {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{needed}"'},
            )
        if caller.user_id is not None or caller.needs_token:
            self._check_user(scope, rule, text, caller)
        if self._limits is None:
            return
        limits = self._limits.of(caller)
        limits.take_key(caller.key_id, 1)
        if caller.user_id is not None and needed != "track":  # events are counted by the route
            taken, wait = limits.take_user(caller.user_id)
            if not taken:
                raise limiting.too_many("user", limits.per_user, wait)

    def _check_user(self, scope: Scope, rule: Rule, text: str, caller: Caller) -> None:
        """The users that path and query name, as the routes read them; one that the query
        leaves out is filled in."""
        query = scope["query_string"].decode("latin-1")
        named = [value for name, value in parse_qsl(query, True) if name == "user_id"]
        if rule.user == "query" and not named and caller.user_id is not None:
            filled = f"user_id={quote(caller.user_id, safe='')}"
            scope["query_string"] = f"{query}&{filled}".lstrip("&").encode("latin-1")
        if rule.user == "path":
            named.append(text)
        for user_id in named:
            why = forbidden_user(caller, user_id)
            if why is not None:
                raise HTTPException(403, why)


class _Guard:
    """``Access`` as a middleware."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._access.answer(self._app, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:  # nothing here answers websockets
            await send({"type": "websocket.close", "code": 1008})


class _Credentials(NamedTuple):
    """What was sent to say who calls, not yet believed."""

    key: str | None = None
    token: str | None = None
    key_in_query: bool = False


_NONE = _Credentials()


def _credentials(scope: Scope, rule: Rule) -> _Credentials:
    """
    Raises:
        HTTPException: 401, something is sent twice, or is no credential.
    """
    keys, tokens = [], []
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            keys.append(value.decode("latin-1").strip())
        elif name == b"x-user-token":
            tokens.append(value.decode("latin-1").strip())
        elif name == b"authorization":
            kind, _, sent = value.decode("latin-1").partition(" ")
            if kind.lower() != "bearer":
                raise _unauthorized("Send `Authorization: Bearer …`, with a key or a user token.")
            (tokens if sent.count(".") == 2 else keys).append(sent.strip())
    in_query = False
    # A page that is left sends by navigator.sendBeacon, which cannot set headers.
    if rule.scope == "track" and scope["query_string"]:
        for parameter, text in parse_qsl(scope["query_string"].decode("latin-1"), True):
            if parameter == "key":
                keys.append(text)
                in_query = True
            elif parameter == "token":
                tokens.append(text)
    if not keys and not tokens:
        return _NONE
    for what, sent_ones in (("key", keys), ("user token", tokens)):
        if len(sent_ones) > 1:
            raise _unauthorized(f"More than one {what} was sent: send one.")
    return _Credentials(keys[0] if keys else None, tokens[0] if tokens else None, in_query)


def _unauthorized(detail: str, error: str = "") -> HTTPException:
    challenge = f'{REALM}, error="{error}"' if error else REALM
    return HTTPException(401, detail, {"WWW-Authenticate": challenge})
