"""``/profiles``: what tunes the feed. ``/reasons``: its texts, for translators."""

from __future__ import annotations

from string import Formatter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.feed.reasons import ENGLISH, texts_of
from models.profile.schema import SHIPPED, Profile
from serving.feed.plans import load_shipped
from serving.http import describe
from serving.routes.reads.answers import answer_versioned
from serving.routes.reads.shapes import Profiles, ReasonTexts, ShownProfile
from serving.routes.reads.view import Views

NAMES = sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def routes(views: Views) -> list[Route]:
    async def profiles(request: Request) -> Response:
        active = views.state.profile
        known = {name: _shown(load_shipped(name)) for name in NAMES}
        # The active one may be the product's own, whatever its name.
        body = {"active": active.name, "profiles": known | {active.name: _shown(active)}}
        return answer_versioned(request, body)

    async def reasons(request: Request) -> Response:
        return answer_versioned(request, {"reasons": _texts(texts_of(views.state.profile))})

    return [
        Route("/api/v1/profiles", profiles),
        Route("/api/v1/reasons", reasons),
    ]


def _texts(english: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Each with the names of what fills it."""
    parse = Formatter().parse
    return {
        code: {"text": text, "parameters": [name for _, name, _, _ in parse(text) if name]}
        for code, text in english.items()
    }


def _shown(profile: Profile) -> dict[str, Any]:
    return profile.model_dump(mode="json", include=set(ShownProfile.model_fields))


SHAPES = [(Profiles, "serialization"), (ReasonTexts, "serialization")]
PATHS: dict[str, Any] = {
    "/api/v1/profiles": {
        "get": describe.operation(
            "profiles",
            "The active profile, and those that ship",
            "ranking",
            {
                200: describe.answer("Weights, limits and rules of each", Profiles, versioned=True),
                304: describe.answer("Not changed since", versioned=True),
            },
            parameters=[describe.IF_NONE_MATCH],
        )
    },
    "/api/v1/reasons": {
        "get": describe.operation(
            "reasons",
            "Texts of the reasons, for translation",
            "ranking",
            {
                200: describe.answer(
                    "English, by `reason_code`",
                    ReasonTexts,
                    {"reasons": _texts({code: ENGLISH[code] for code in ("near_city", "new")})},
                    versioned=True,
                ),
                304: describe.answer("Not changed since", versioned=True),
            },
            description="An item's `reason_parameters` fill the text; they may hold more than it "
            "uses, such as the `item_id` of the item that `title` names.",
            parameters=[describe.IF_NONE_MATCH],
        )
    },
}
