"""What an experiment's arm changes in the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.profile.schema import Profile

SECTIONS = ("scorer_weights", "scorers", "diversity", "exploration", "candidates")
"""Sections of the profile that an arm may change: they say how a feed is ranked, and not who
may see what."""


def with_settings(profile: Profile, settings: Mapping[str, Any]) -> Profile:
    """The profile with some fields changed: ``{"diversity": {"strength": 0.1}}``.

    What is not named stays as the profile has it.

    Args:
        settings: by section, of ``SECTIONS`` alone.

    Raises:
        pydantic.ValidationError: a field is unknown or its value is wrong; its location begins
            with the section.
    """
    if not settings:
        return profile
    merged = profile.model_dump()
    for name, section in settings.items():
        merged[name] |= section
    return Profile.model_validate(merged)
