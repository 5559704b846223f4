"""The declaration of a call, beside its handler: method, path, who may call, what it takes and
answers. Routes, access rules and the OpenAPI document are made from it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Route, compile_path

Scope = Literal["public", "track", "read", "preferences", "admin"]
"""What a call needs. ``public``: nothing. ``preferences``: the user's own token, or admin."""
Needed = Scope | Literal["metrics"]
"""``metrics``: see the setting ``metrics_public``."""
UserIn = Literal["nowhere", "query", "path", "body"]
"""Where a call names its user: in a path first. In a body the handler looks, with
``require_user``."""
Handler = Callable[..., Awaitable[Response]]
H = TypeVar("H", bound=Handler | None)
Parameter = dict[str, Any]
"""One of OpenAPI; see ``describe.path_id`` and ``describe.header``."""

# A strong ETag is of the bytes sent, so what has one is not compressed; it is small anyway.
COMPRESSED = [Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=4)]


@dataclass(frozen=True)
class Answer:
    """One answer of a call.

    Attributes:
        versioned: it has an ETag.
        media_type: left out: that of JSON, if there is a shape.
    """

    description: str
    shape: type[BaseModel] | None = None
    example: Any = None
    status: int = 200
    versioned: bool = False
    media_type: str | None = None


@dataclass(frozen=True)
class Body:
    """What a call takes; ``also``: media types that are read as JSON too."""

    shape: type[BaseModel]
    example: Any
    required: bool = True
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """One call.

    Attributes:
        path: with the convertors of its route, ``/api/v1/items/{id:id}``.
        handler: a function, or a method of the class that ``Endpoints.routes`` is given; None:
            BentoML answers.
        name: the operation's id; "": a page or a file, which the document leaves out.
        scope: what the caller needs.
        audited: whether it is noted who calls.
        problems: statuses, with texts where the usual ones do not fit.
    """

    method: str
    path: str
    handler: Handler | None
    name: str
    summary: str
    answers: tuple[Answer, ...]
    tag: str
    scope: Needed
    user: UserIn
    audited: bool
    compressed: bool
    description: str
    parameters: Sequence[Parameter]
    query: type[BaseModel] | None
    body: Body | None
    problems: Mapping[int, str | None]

    @cached_property
    def template(self) -> str:
        """The path without convertors."""
        return compile_path(self.path)[1]


class Endpoints:
    """The calls of one group, in the order in which paths are matched."""

    def __init__(
        self,
        tag: str,
        scope: Needed,
        user: UserIn = "nowhere",
        problems: Iterable[int] = (),
    ) -> None:
        """What holds for each that does not say otherwise."""
        self._tag = tag
        self._scope = scope
        self._user = user
        self._problems = dict.fromkeys(problems)
        self._all: list[Endpoint] = []

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._all)

    def declare(
        self,
        call: str,
        *answers: Answer,
        name: str = "",
        summary: str = "",
        description: str = "",
        scope: Needed | None = None,
        user: UserIn | None = None,
        audited: bool | None = None,
        compressed: bool = False,
        parameters: Sequence[Parameter] = (),
        query: type[BaseModel] | None = None,
        body: Body | None = None,
        problems: Iterable[int] | Mapping[int, str] = (),
    ) -> Callable[[H], H]:
        """A decorator for the handler.

        Args:
            call: method and path, ``GET /api/v1/items/{id:id}``.
            name, summary, description: left out: the handler's name, the first line of its
                docstring, and the rest of it. Without a docstring it is not described.
            audited: left out: where the scope is ``admin`` or ``preferences``.
            problems: beside those of the group, and those that follow from the rest, see
                ``describe.problems_of``.
        """
        method, _, path = call.partition(" ")
        needed = scope or self._scope

        def declared(handler: H) -> H:
            first, _, rest = (inspect.getdoc(handler) or "").partition("\n\n")
            title = summary or first.removesuffix(".")
            self._all.append(
                Endpoint(
                    method=method,
                    path=path,
                    handler=handler,
                    name=name or _camel_case(handler) if title else "",
                    summary=title,
                    answers=answers,
                    tag=self._tag,
                    scope=needed,
                    user=user or self._user,
                    audited=needed in ("admin", "preferences") if audited is None else audited,
                    compressed=compressed,
                    description=description or " ".join(rest.split()),
                    parameters=parameters,
                    query=query,
                    body=body,
                    problems={
                        **self._problems,
                        **(problems if isinstance(problems, Mapping) else dict.fromkeys(problems)),
                    },
                )
            )
            return handler

        return declared

    def routes(self, calls: object = None) -> list[Route]:
        """Routes to the methods of ``calls``, or to functions."""
        return [
            Route(
                endpoint.path,
                endpoint.handler if calls is None else getattr(calls, endpoint.handler.__name__),
                methods=[endpoint.method],
                middleware=COMPRESSED if endpoint.compressed else None,
            )
            for endpoint in self
            if endpoint.handler is not None
        ]


def _camel_case(handler: Handler | None) -> str:
    """``findItems`` of ``find_items``."""
    first, *others = getattr(handler, "__name__", "").split("_")
    return first + "".join(word.capitalize() for word in others)
