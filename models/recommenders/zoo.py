"""Every recommender by name: those of ``models.profile.recommender_settings.RECOMMENDERS``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from models.profile.recommender_settings import RECOMMENDERS, BySection
from models.profile.schema import Profile
from models.recommenders.base import Plan, Recommender


def class_of(made_by: str) -> type[Recommender]:
    """The class of an entry."""
    module, name = made_by.split(":")
    kind: type[Recommender] = getattr(import_module(f"models.recommenders.{module}"), name)
    return kind


ZOO: dict[str, type[Recommender]] = {
    name: class_of(known.made_by) for name, known in RECOMMENDERS.items()
}


def make(name: str, profile: Profile, plan: Plan | None = None) -> Recommender:
    """A recommender, untrained, with its settings in the profile, or else its defaults.

    Args:
        plan: of a blend that was trained before; it searches no other.

    Raises:
        ValueError: there is no such recommender.
    """
    if name not in ZOO:
        raise ValueError(f"no recommender {name!r}; there are {', '.join(ZOO)}")
    kind: Callable[..., Recommender] = ZOO[name]
    settings = profile.recommenders.get(name)
    given = [] if settings is None or isinstance(settings, BySection) else [settings]
    return kind(*given) if plan is None else kind(*given, plan=plan)
