"""What users, items and owners have in common: read, put, patch, delete, and many at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from serving.http.answers import (
    answer_json,
    answer_row,
    check_version,
    is_conditional,
    not_found,
)
from serving.http.describe import CREATE_ONLY, IF_MATCH, path_id
from serving.http.endpoints import Answer, Body, Endpoints, Scope
from serving.http.fields import MAX_ENTRIES
from serving.http.inputs import (
    Error,
    conflicts,
    errors_of,
    id_in,
    merged,
    parse,
    read_object,
    refuse,
    unfit,
)
from serving.http.json_bodies import as_text, encode
from serving.http.paths import path_of
from serving.http.problems import InvalidParameters
from serving.http.request_ids import request_id_of
from serving.postgres.database import Database
from serving.routes.catalogue.shapes import BulkOutcome
from storage.catalogue import entities as catalogue
from storage.catalogue.entities import Connection, Refused, Written
from storage.events.quarantine import Catalogue
from storage.privacy.named_users import users_in

CHECKED_AT_ONCE = 20
"""Entries that are checked before other requests get their turn: about a millisecond."""


@dataclass(frozen=True)
class Kind:
    """One of the three: what it is called, and its shapes."""

    entity: Catalogue
    noun: str
    body: type[BaseModel]
    entry: type[BaseModel]
    envelope: type[BaseModel]
    row: type[BaseModel]
    example: dict[str, Any]
    patch: dict[str, Any]


@dataclass
class _Entry:
    """An entry of a bulk request as it was ``sent``: what to write, or what is wrong with it."""

    sent: Any
    id: str | None
    values: dict[str, Any]
    errors: list[Error]


class EntityCalls:
    """The calls on one kind."""

    def __init__(self, database: Database, written: Callable[[], None], kind: Kind) -> None:
        """
        Args:
            written: called after each call that wrote.
        """
        self._database = database
        self._written = written
        self._kind = kind

    async def get(self, request: Request) -> Response:
        id = id_in(request)
        row = await self._database.run(lambda c: catalogue.get(c, self._kind.entity, id))
        if row is None:
            raise not_found(self._kind.noun, id)
        return answer_row(request, row)

    async def put(self, request: Request) -> Response:
        id = id_in(request)
        body = parse(self._kind.body, await read_object(request))
        values = {**self._values(body, id), "id": id}
        refuse(conflicts(values, values))

        async def work(connection: Connection) -> Written:
            conditional = is_conditional(request)
            if conditional:
                there = await catalogue.get(connection, self._kind.entity, id, lock=True)
                check_version(request, there)
            written = (await catalogue.put(connection, self._kind.entity, [values]))[id]
            if conditional and there is None and not written.created:
                check_version(request, written.row)  # somebody else created it meanwhile
            return written

        written = await self._database.run(work)
        self._written()
        if written.created:
            return answer_row(
                request, written.row, 201, {"Location": path_of(self._kind.entity, id)}
            )
        return answer_row(request, written.row)

    async def patch(self, request: Request) -> Response:
        id = id_in(request)
        patch = await read_object(request)

        async def work(connection: Connection) -> str | None:
            row = await catalogue.get(connection, self._kind.entity, id, lock=True)
            if row is None:
                raise not_found(self._kind.noun, id)
            check_version(request, row)
            changes = self._changes(id, orjson.loads(row), patch)
            if not changes:
                return row
            return await catalogue.change(connection, self._kind.entity, id, changes)

        row = await self._database.run(work)
        assert row is not None  # it was locked
        self._written()
        return answer_row(request, row)

    async def delete(self, request: Request) -> Response:
        id = id_in(request)

        async def work(connection: Connection) -> bool:
            if is_conditional(request):
                there = await catalogue.get(connection, self._kind.entity, id, lock=True)
                check_version(request, there)
            return await self._remove(connection, id)

        if not await self._database.run(work):
            raise not_found(self._kind.noun, id)
        self._written()
        return Response(status_code=204, headers={"X-Request-Id": request_id_of(request)})

    async def bulk(self, request: Request) -> Response:
        name = self._kind.entity
        entries = await self._check(_entries(await read_object(request, all_fit=False), name))
        good = [entry.values for entry in entries if not entry.errors]
        refused = [
            Refused(number, _reason(entry.errors), encode(entry.sent), users_in(name, entry.sent))
            for number, entry in enumerate(entries, start=1)
            if entry.errors
        ]

        async def work(connection: Connection) -> dict[str, Written]:
            await catalogue.keep_refused(connection, name, refused)
            return await catalogue.put(connection, name, good) if good else {}

        written = await self._database.run(work)
        self._written()
        outcomes = [
            {
                "id": entry.id,
                "outcome": "rejected"
                if entry.errors or entry.id is None
                else "created"
                if written[entry.id].created
                else "updated",
                "errors": [_below(f"{name}.{index}", error) for error in entry.errors],
            }
            for index, entry in enumerate(entries)
        ]
        counts = Counter(outcome["outcome"] for outcome in outcomes)
        numbers = {each: counts[each] for each in ("created", "updated", "rejected")}
        return answer_json(request, {"outcomes": outcomes, **numbers})

    async def _remove(self, connection: Connection, id: str) -> bool:
        return await catalogue.remove(connection, self._kind.entity, id)

    def _values(self, body: BaseModel, id: str, *, given_only: bool = False) -> dict[str, Any]:
        """What a body says, without the id.

        Raises:
            InvalidParameters: it names another id than the path.
        """
        values = body.model_dump(exclude_unset=given_only)
        if values.pop("id", None) not in (None, id):
            raise InvalidParameters([{"field": "id", "message": f"is not {id!r} as in the path"}])
        return values

    def _changes(self, id: str, old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        """Typed values of the patched fields.

        Raises:
            InvalidParameters: one is wrong, or does not go with what is stored.
        """
        attributes, before = patch.get("attributes"), old.get("attributes")
        if isinstance(attributes, dict) and isinstance(before, dict):
            patch = {**patch, "attributes": merged(before, attributes)}
        changes = self._values(parse(self._kind.body, patch), id, given_only=True)
        refuse(conflicts({**old, **changes}, changes))
        return changes

    async def _check(self, entries: list[Any]) -> list[_Entry]:
        """Each entry checked; of several with one id, the first good one counts."""
        checked: list[_Entry] = []
        first: dict[str, int] = {}
        for index, entry in enumerate(entries):
            if index % CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            entity = self._checked(entry)
            if not entity.errors and entity.id is not None:
                before = first.setdefault(entity.id, index)
                if before != index:
                    message = f"given twice: {self._kind.entity}.{before} has it too"
                    entity.errors.append({"field": "id", "message": message})
            checked.append(entity)
        return checked

    def _checked(self, entry: Any) -> _Entry:
        given = entry.get("id") if isinstance(entry, dict) else None
        id = as_text(given) if isinstance(given, str) else None
        if errors := unfit(entry):
            return _Entry(entry, id, {}, errors)
        try:
            values = self._kind.entry.model_validate(entry).model_dump()
        except ValidationError as error:
            return _Entry(entry, id, {}, errors_of(error))
        return _Entry(entry, values["id"], values, conflicts(values, values))


def _entries(body: dict[str, Any], name: str) -> list[Any]:
    """The list under the only field of a bulk request.

    Raises:
        InvalidParameters: it is not there, no list, empty or too long.
    """
    entries = body.get(name)
    wrong = [{"field": field, "message": "no such field"} for field in body if field != name][:10]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        wrong.append({"field": name, "message": f"must be a list of 1 to {MAX_ENTRIES} entries"})
    refuse(wrong)
    assert isinstance(entries, list)
    return entries


def _reason(errors: list[Error]) -> str:
    return "; ".join(f"{error['field']}: {error['message']}" for error in errors)


def _below(prefix: str, error: Error) -> Error:
    field = prefix if error["field"] == "body" else f"{prefix}.{error['field']}"
    return {"field": field, "message": error["message"]}


def declare(
    endpoints: Endpoints,
    kind: Kind,
    *,
    read: Scope = "admin",
    put_note: str = "",
    delete_note: str = "",
) -> None:
    """The calls on one kind; ``read``: what reading one needs."""
    noun, entity = kind.noun, kind.entity
    title = noun.capitalize()
    article = f"an {noun}" if noun[0] in "aeio" else f"a {noun}"
    whole = {**kind.example, "updated_at": "2026-05-17T09:30:00.123456+00:00"}
    row = Answer(f"The {noun}", kind.row, whole, versioned=True)
    given = {name: value for name, value in kind.example.items() if name != "id"}
    path, id = f"/api/v1/{entity}/{{id:id}}", path_id("id", f"The {noun}'s id.")
    endpoints.declare(
        f"POST /api/v1/{entity}:bulk",
        Answer(
            "What became of each entry",
            BulkOutcome,
            {
                "outcomes": [{"id": kind.example["id"], "outcome": "created", "errors": []}],
                "created": 1,
                "updated": 0,
                "rejected": 0,
            },
        ),
        name=f"bulk{title}",
        summary=f"Create or replace up to {MAX_ENTRIES} {entity}",
        user="nowhere",
        compressed=True,
        description="Each entry is written as by PUT. One that is wrong is rejected alone, and "
        "kept with its reasons for somebody to look at. Of several with one id the first good one "
        "is written, the others are rejected.",
        body=Body(kind.envelope, {entity: [kind.example]}),
    )(EntityCalls.bulk)
    endpoints.declare(
        f"GET {path}",
        row,
        name=f"get{title}",
        summary=f"Read {article}",
        scope=read,
        parameters=[id],
        problems=(404,),
    )(EntityCalls.get)
    endpoints.declare(
        f"PUT {path}",
        replace(row, description="Replaced"),
        replace(row, description="Created", status=201),
        name=f"put{title}",
        summary=f"Create or replace {article}",
        description="A field left out gets its default." + put_note,
        parameters=[id, IF_MATCH, CREATE_ONLY],
        body=Body(kind.body, given),
    )(EntityCalls.put)
    endpoints.declare(
        f"PATCH {path}",
        row,
        name=f"patch{title}",
        summary=f"Change some fields of {article}",
        description="A JSON merge patch (RFC 7396): fields left out stay, null goes back to the "
        "default, and the members of `attributes` merge.",
        parameters=[id, IF_MATCH],
        body=Body(kind.body, kind.patch, also=("application/merge-patch+json",)),
        problems=(404,),
    )(EntityCalls.patch)
    endpoints.declare(
        f"DELETE {path}",
        Answer("Deleted", status=204),
        name=f"delete{title}",
        summary=f"Delete {article}",
        description="404 when there is nothing to delete, so also the second time." + delete_note,
        parameters=[id, IF_MATCH],
        problems=(404,),
    )(EntityCalls.delete)
