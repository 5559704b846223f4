"""``/profiles``: what tunes the feed. ``/reasons``: its texts, for translators."""

from __future__ import annotations

from string import Formatter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from models.feed.reasons import ENGLISH, texts_of
from models.profile.schema import SHIPPED, Profile
from serving.feed.plans import load_shipped
from serving.http.endpoints import Answer, Endpoints
from serving.routes.reads.answers import answer_versioned
from serving.routes.reads.shapes import Profiles, ReasonTexts, ShownProfile
from serving.routes.reads.view import Views

NAMES = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
endpoints = Endpoints(tag="ranking", scope="read")


def _texts(english: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Each with the names of what fills it."""
    parse = Formatter().parse
    return {
        code: {"text": text, "parameters": [name for _, name, _, _ in parse(text) if name]}
        for code, text in english.items()
    }


class SettingsCalls:
    def __init__(self, views: Views) -> None:
        self._views = views

    @endpoints.declare(
        "GET /api/v1/profiles",
        Answer("Weights, limits and rules of each", Profiles, versioned=True),
    )
    async def profiles(self, request: Request) -> Response:
        """The active profile, and those that ship."""
        active = self._views.state.profile
        shipped = {name: _shown(load_shipped(name)) for name in NAMES}
        # The active one may be the product's own, whatever its name.
        body = {"active": active.name, "profiles": shipped | {active.name: _shown(active)}}
        return answer_versioned(request, body)

    @endpoints.declare(
        "GET /api/v1/reasons",
        Answer(
            "English, by `reason_code`",
            ReasonTexts,
            {"reasons": _texts({code: ENGLISH[code] for code in ("near_city", "new")})},
            versioned=True,
        ),
    )
    async def reasons(self, request: Request) -> Response:
        """Texts of the reasons, for translation.

        An item's `reason_parameters` fill the text; they may hold more than it uses, such as the
        `item_id` of the item that `title` names.
        """
        return answer_versioned(request, {"reasons": _texts(texts_of(self._views.state.profile))})


def _shown(profile: Profile) -> dict[str, Any]:
    return profile.model_dump(mode="json", include=set(ShownProfile.model_fields))
