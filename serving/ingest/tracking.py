"""``POST /interactions`` and ``POST /feed/interactions/{item_id}``: what users did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.access import caller_of, charge_events
from serving.access.caller import forbidden_user
from serving.http.answers import answer_json
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.inputs import id_in
from serving.http.json_bodies import as_text
from serving.http.problems import InvalidParameters
from serving.ingest.bodies import MAX_BODY_BYTES, entries_of, read_json
from serving.ingest.checking import Checked
from serving.ingest.metrics import EVENTS
from serving.ingest.service import Ingest
from serving.ingest.shapes import (
    MAX_ENTRIES,
    Interactions,
    OfUser,
    OneInteraction,
    Outcomes,
)
from serving.ingest.writer import Busy, NoRoom
from storage.events.store import Refusal

BUSY_SECONDS, NO_ROOM_SECONDS = 1, 5
_COUNTERS = {status: EVENTS.labels(status) for status in ("accepted", "duplicate", "rejected")}
EXAMPLE_EVENT: dict[str, Any] = {
    "event_id": "0b5a2a0e-9d1f-4f0e-8a57-d7a1a5b9a2a1",
    "user_id": "196",
    "item_id": "242",
    "type": "click",
    "occurred_at": "2026-05-17T09:30:00.123Z",
    "metadata": {"feed_id": "01a1ff95aec25b065759e8d2efa6337e", "position": 3},
}
EXAMPLE_OUTCOMES: dict[str, Any] = {
    "results": [
        {"event_id": EXAMPLE_EVENT["event_id"], "outcome": "accepted", "reason": None},
    ],
    "accepted": 1,
    "duplicates": 0,
    "rejected": 0,
}
_ONE = {name: EXAMPLE_EVENT[name] for name in ("event_id", "type", "occurred_at", "metadata")}
_PROMISE = (
    "202 means durable: what is `accepted` or `duplicate` is not lost, whatever happens next, and "
    "is stored once however often it is sent with the same `event_id` and `occurred_at`. While "
    "Postgres is away, events wait on the disk of the server, and a duplicate cannot be told from "
    "a new one: both are `accepted`, and stored once. Users and items need not be known."
)
_LIMITED = (
    "An event over its user's rate limit is rejected alone as well, but not kept: its outcome has "
    "`retry_after`, and it may be sent again then."
)
PROBLEMS = {
    413: f"The body is larger than {MAX_BODY_BYTES // 2**20} MiB, has more events than the key "
    "may send in a minute, or more than 100,000 objects and lists: send fewer at once.",
    429: "Too much at once, or over the key's rate limit; try again after `Retry-After`.",
    503: "Postgres is away and the disk's share is full; try again after `Retry-After`.",
}
TAKEN = Answer("What became of each entry", Outcomes, EXAMPLE_OUTCOMES, status=202)
endpoints = Endpoints(tag="interactions", scope="track")


class IngestCalls:
    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    @endpoints.declare(
        "POST /api/v1/interactions",
        TAKEN,
        summary=f"Send what users did, 1 to {MAX_ENTRIES} events",
        user="body",
        description=f"{_PROMISE} An entry that is wrong is rejected alone, and kept with its "
        f"reason for somebody to mend. {_LIMITED}",
        body=Body(Interactions, {"interactions": [EXAMPLE_EVENT]}, also=("text/plain",)),
        problems=PROBLEMS,
    )
    async def send_interactions(self, request: Request) -> Response:
        with self._free_events() as arrived:
            return await self._take(request, entries_of(await read_json(request, arrived)))

    @endpoints.declare(
        "POST /api/v1/feed/interactions/{item_id:id}",
        TAKEN,
        user="query",
        description=f"{_PROMISE} {_LIMITED}",
        parameters=[path_id("item_id", "What the user acted on.")],
        query=OfUser,
        body=Body(OneInteraction, _ONE, also=("text/plain",)),
        problems=PROBLEMS,
    )
    async def send_interaction(self, request: Request) -> Response:
        """Send one thing that a user did to an item."""
        item_id = id_in(request, "item_id")
        users = request.query_params.getlist("user_id")
        if len(users) > 1:
            raise InvalidParameters(
                [{"field": "user_id", "message": "given more than once: give it once"}]
            )
        with self._free_events() as arrived:
            body = await read_json(request, arrived)
            if not isinstance(body, dict):
                raise InvalidParameters([{"field": "body", "message": "must be a JSON object"}])
            both = [name for name in ("item_id", "user_id") if name in body]
            if both:
                raise InvalidParameters(
                    [{"field": name, "message": "belongs into the address"} for name in both]
                )
            user_id = users[0] if users else None
            entry = {**body, "item_id": item_id, "user_id": user_id}
            if entry.get("event_id") is None:
                entry["event_id"] = str(uuid4())
            return await self._take(request, [entry])

    @contextmanager
    def _free_events(self) -> Iterator[Callable[[int], None]]:
        """Room for one request; call what it gives with the bytes of each part as it comes.

        Raises:
            HTTPException: 429 too much at once, 503 nothing can be kept, 400 a body broke off.
        """
        try:
            with self._ingest.room() as arrived:
                yield arrived
        except Busy as error:
            raise HTTPException(
                429,
                f"Too much at once: {error}. Send it again.",
                {"Retry-After": str(BUSY_SECONDS)},
            ) from error
        except NoRoom as error:
            raise HTTPException(
                503,
                f"Nothing can be kept now: {error}. Send it again.",
                {"Retry-After": str(NO_ROOM_SECONDS)},
            ) from error
        except ClientDisconnect as error:
            raise HTTPException(400, "The body ended before its time.") from error

    async def _take(self, request: Request, entries: list[Any]) -> Response:
        """Check, write and answer."""
        checked = await self._ingest.check(entries)
        self._keep_to_the_caller(request, checked)
        wait, limited = self._keep_to_the_limits(request, checked, len(entries))
        stored = await self._ingest.write(checked)
        results: list[dict[str, Any]] = [
            {"event_id": _sent_id(entry), "outcome": "accepted", "reason": None}
            for entry in entries
        ]
        refusals = checked.refusals | {
            checked.positions[number]: refusal for number, refusal in stored.refused.items()
        }
        for index, refusal in refusals.items():
            results[index].update(
                outcome="rejected", reason=refusal.reason, field=refusal.field or None
            )
        for index in limited:
            results[index]["retry_after"] = wait
        for number in stored.known:
            results[checked.positions[number]]["outcome"] = "duplicate"
        counts = Counter(result["outcome"] for result in results)
        for outcome, count in counts.items():
            _COUNTERS[outcome].inc(count)
        body = {
            "results": results,
            "accepted": counts["accepted"],
            "duplicates": counts["duplicate"],
            "rejected": counts["rejected"],
        }
        return answer_json(request, body, 202, {"Retry-After": str(wait)} if wait else None)

    def _keep_to_the_caller(self, request: Request, checked: Checked) -> None:
        """Refuse events of users for whom the caller may not speak. They are not kept, nor is what
        else names another user: what was forged must not be replayed one day."""
        caller = caller_of(request)
        if caller.user_id is None and not caller.needs_token:
            return
        refused: dict[int, Refusal] = {}
        for index, event in zip(checked.positions, checked.events, strict=True):
            why = forbidden_user(caller, event["user_id"])
            if why is not None:
                refused[index] = Refusal("user_id", why)
            elif event["user_id"] is None:
                event["user_id"] = caller.user_id
        checked.leave_out(refused)
        checked.refused = [
            entry for entry in checked.refused if not {*entry["user_ids"]} - {caller.user_id}
        ]

    def _keep_to_the_limits(
        self, request: Request, checked: Checked, entries: int
    ) -> tuple[int, list[int]]:
        """Leave out those that are over their user's limit: seconds until they may come again,
        and their places."""
        users: list[str | None] = [None] * entries
        for index, event in zip(checked.positions, checked.events, strict=True):
            users[index] = event["user_id"]
        charged = charge_events(request, users)
        over = [index for index, granted in enumerate(charged.granted) if not granted]
        why = f"over the rate limit of this user: send it again in {charged.retry_after} s"
        checked.leave_out({index: Refusal("user_id", why) for index in over})
        return charged.retry_after, over


def _sent_id(entry: Any) -> str | None:
    """The event id as it was sent, if it is known."""
    sent = entry.get("event_id") if isinstance(entry, dict) else None
    return as_text(sent[:100]) if isinstance(sent, str) else None
