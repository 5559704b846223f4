"""``/admin/user-tokens``: a product's server asks for a token, and hands it to a browser."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from serving.access.caller import TOKEN_SCOPES, TokenScope
from serving.access.keys import KeyRing
from serving.access.middleware import AUDIT_DETAIL
from serving.access.tokens import make_token
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.fields import Id
from serving.http.inputs import parse, read_object


class UserTokenBody(BaseModel):
    """Whom the token is for, and for how long."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id
    hours: float = Field(default=1.0, gt=0, le=24)
    scopes: list[TokenScope] = Field(default=list(TOKEN_SCOPES), min_length=1, max_length=3)


class UserToken(BaseModel):
    """A signed user token."""

    token: str
    user_id: str
    scopes: list[TokenScope]
    expires_at: datetime
    request_id: str


endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


class UserTokenCalls:
    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    @endpoints.declare(
        "POST /api/v1/admin/user-tokens",
        Answer(
            "The token",
            UserToken,
            {
                "token": "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ.eyJ….X2s…",
                "user_id": "196",
                "scopes": ["track", "read"],
                "expires_at": "2026-05-17T10:30:00+00:00",
            },
            status=201,
        ),
        body=Body(UserTokenBody, {"user_id": "196", "hours": 1, "scopes": ["track", "read"]}),
    )
    async def make_user_token(self, request: Request) -> Response:
        """A signed token that binds a browser to one user.

        For a product's own server, which knows who is signed in. The browser sends the token as
        `Authorization: Bearer …`, or as `X-User-Token` beside a key.
        """
        asked = parse(UserTokenBody, await read_object(request))
        secret = await self._ring.signing()
        token, expires_at = make_token(secret, asked.user_id, asked.hours, asked.scopes)
        request.scope.get(AUDIT_DETAIL, {})["user_sha256"] = hashlib.sha256(
            asked.user_id.encode()
        ).hexdigest()
        return answer_json(
            request,
            {
                "token": token,
                "user_id": asked.user_id,
                "scopes": asked.scopes,
                "expires_at": expires_at,
            },
            201,
        )
