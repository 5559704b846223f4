"""Signed user tokens: a browser that holds one is one user, for some hours.

A JWT (RFC 7519) signed with HS256: ``sub`` the user, ``scope`` what it allows, ``iat`` and
``exp`` at most 24 hours apart, and ``kid`` the secret that signed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import jwt

from serving.access.caller import TOKEN_SCOPES
from storage.loading.values.columns import MAX_ID_BYTES
from storage.operations.keys import LONGEST_TOKEN_LIFE, TokenSecret

ALGORITHM = "HS256"
LONGEST_TOKEN = 4096
"""Characters."""
SKEW_SECONDS = 10
"""Clocks of two machines may differ by so much."""


class BadToken(ValueError):
    """The token is of no use; the message says why."""


@dataclass(frozen=True)
class Claims:
    """What a valid token says. ``expires_at``: epoch seconds."""

    user_id: str
    scopes: frozenset[str]
    expires_at: float


def make_token(
    secret: TokenSecret,
    user_id: str,
    hours: float,
    scopes: Sequence[str] = TOKEN_SCOPES,
    *,
    now: float | None = None,
) -> tuple[str, datetime]:
    """A token for ``user_id``, and when it expires.

    Raises:
        ValueError: hours are not in (0, 24], the id cannot be an id, or there are no scopes.
    """
    if not 0 < hours * 3600 <= LONGEST_TOKEN_LIFE.total_seconds():
        raise ValueError("hours: give more than 0 and at most 24")
    if not 0 < len(user_id.encode()) <= MAX_ID_BYTES or "\0" in user_id:
        raise ValueError(f"user_id: give 1 to {MAX_ID_BYTES} bytes")
    if not scopes or not set(scopes) <= set(TOKEN_SCOPES):
        raise ValueError(f"scopes: give some of {', '.join(TOKEN_SCOPES)}")
    issued = int(time.time() if now is None else now)
    expires = issued + max(1, int(hours * 3600))
    claims = {"sub": user_id, "scope": " ".join(scopes), "iat": issued, "exp": expires}
    token = jwt.encode(claims, secret.secret, ALGORITHM, headers={"kid": str(secret.id)})
    return token, datetime.fromtimestamp(expires, UTC)


def read_token(token: str, secrets: Mapping[str, bytes]) -> Claims:
    """What the token says, if one of ``secrets`` (by ``kid``) signed it and it holds now.

    Raises:
        BadToken: it is not one of ours, was changed, or has expired.
    """
    if len(token) > LONGEST_TOKEN:
        raise BadToken("it is too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        secret = secrets.get(kid) if isinstance(kid, str) else None
        if secret is None:
            raise BadToken("no secret of now signed it")
        claims = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            leeway=SKEW_SECONDS,
            options={"require": ["sub", "iat", "exp"]},
        )
    except jwt.ExpiredSignatureError as error:
        raise BadToken("it has expired") from error
    except jwt.ImmatureSignatureError as error:  # the clock of who made it, or ours, was set back
        raise BadToken("it is of the future: ask for a new one") from error
    except jwt.InvalidTokenError as error:
        raise BadToken("it is not valid") from error
    if claims["exp"] - claims["iat"] > LONGEST_TOKEN_LIFE.total_seconds():
        raise BadToken("it is valid for more than 24 hours")
    scopes = claims.get("scope")
    named = scopes.split() if isinstance(scopes, str) else ()
    if not claims["sub"] or not set(named) <= set(TOKEN_SCOPES):
        raise BadToken("it is not valid")
    return Claims(claims["sub"], frozenset(named), claims["exp"] + SKEW_SECONDS)
