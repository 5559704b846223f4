"""Who calls, as routes see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.http.endpoints import Scope

TokenScope = Literal["track", "read", "preferences"]
TOKEN_SCOPES: tuple[TokenScope, ...] = get_args(TokenScope)
EVERYTHING = frozenset[str](get_args(Scope))

STATE = "feedwright.caller"
"""Key of the caller in an ASGI scope."""


@dataclass(frozen=True)
class Caller:
    """
    Attributes:
        scopes: what they may do.
        actor: who they are in the audit log.
        key_id: of their key, if they sent one.
        user_id: whom their token binds them to; None: they may speak for anybody …
        needs_token: … unless this is set: then for nobody.
        limit_per_key, limit_per_user: their key's own limits a minute; None: it has none.
    """

    scopes: frozenset[str]
    actor: str
    key_id: str | None = None
    user_id: str | None = None
    needs_token: bool = False
    limit_per_key: int | None = None
    limit_per_user: int | None = None

    def may(self, scope: Scope) -> bool:
        return scope == "public" or scope in self.scopes


NOBODY = Caller(frozenset(), "nobody")
LOCAL = Caller(EVERYTHING, "local")
UNGUARDED = Caller(EVERYTHING, "anybody")
"""Where FEEDWRIGHT_AUTH is off."""


def caller_of(request: Request) -> Caller:
    """The caller; ``UNGUARDED`` where no access control stands before the routes."""
    caller: Caller = request.scope.get(STATE, UNGUARDED)
    return caller


def require_user(request: Request, user_id: str | None) -> str | None:
    """The user that a request with ``user_id`` in its body is about.

    Returns:
        ``user_id``; for a caller with a token, the token's user where it is None.

    Raises:
        HTTPException: 403, the caller may not speak for that user.
    """
    caller = caller_of(request)
    why = forbidden_user(caller, user_id)
    if why is not None:
        raise HTTPException(403, why)
    return caller.user_id if user_id is None else user_id


def forbidden_user(caller: Caller, user_id: str | None) -> str | None:
    """Why the caller may not speak for the user (None: for nobody in particular), or None."""
    if caller.user_id is not None:
        if user_id in (None, caller.user_id):
            return None
        return "user_id is not the user of your token: leave it out, or send theirs."
    if caller.needs_token and user_id is not None:
        return "This key speaks for no user: send the user's token as X-User-Token too."
    return None
