"""Settings of every recommender, as the section ``recommenders`` of the profile names them.

This file brings no library but pydantic: whatever reads a profile need not load what trains. The
defaults come from a search: ``docs/search.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    create_model,
    model_validator,
)

from models.profile.section import Section

Count = Annotated[int, Field(ge=1)]
Above = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

NOT_DETERMINISTIC = "More than one is faster, and no longer deterministic."


class Settings(Section):
    """Parameters of a recommender."""

    @property
    def validation_share(self) -> float | None:
        """Share of the newest interactions that training sees by when to stop; None: none."""
        return None


class BySection(Settings):
    """Of a recommender whose parameters are sections of the profile: it has no others."""


class ALSSettings(Settings):
    """
    Attributes:
        confidence: how much a liked pair counts of one that is not (``alpha``).
        weighted: times how much it was liked.
    """

    dims: Count = 32
    ridge: Above = 30.0
    confidence: Above = 5.0
    weighted: bool = False
    iterations: Count = 15
    threads: Count = 1
    seed: Seed = 42


class BPRSettings(Settings):
    dims: Count = 64
    learning_rate: Above = 0.01
    ridge: float = Field(default=0.01, ge=0)
    iterations: Count = 50
    threads: Count = Field(default=1, description=NOT_DETERMINISTIC)
    seed: Seed = 42


class LightFMAloneSettings(Settings):
    loss: Literal["warp", "bpr"] = "warp"
    dims: Count = 64
    epochs: Count = Field(default=50, description="At most, where stopping early is on.")
    patience: Count | None = Field(
        default=5,
        description="Epochs without a better nDCG on the window after which training stops, and "
        "is done again on all data for the best number of epochs; null: all epochs.",
    )
    window: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the interactions in the window: the newest, or drawn at random "
        "where the dataset does not set them apart.",
    )
    learning_rate: Above = 0.03
    ridge: float = Field(default=0.0, ge=0)
    max_sampled: Count = 10
    threads: Count = Field(default=1, description=NOT_DETERMINISTIC)
    seed: Seed = 42

    @property
    def validation_share(self) -> float | None:
        return None if self.patience is None else self.window


class NMFSettings(Settings):
    """
    Attributes:
        ridge: weight of ``|users|² + |parts|²`` beside the squared error.
        weighted: learn from how much an item was liked; False: only from whether it was.
    """

    dims: Annotated[int, Field(ge=1, le=50)] = 28
    ridge: Annotated[float, Field(ge=0)] = 11.3
    weighted: bool = True
    iterations: Count = 92
    seed: Seed = 42


class PureSVDSettings(Settings):
    """
    Attributes:
        iterations: of the power method (Halko et al. 2011).
    """

    dims: Count = 128
    iterations: Count = 4
    seed: Seed = 42


class ItemToItemSettings(Settings):
    """
    Attributes:
        weighted: learn from how much an item was liked; False: only from whether it was.
        kept: the strongest weights of an item that are served.
    """

    weighted: bool = False
    kept: Count = 500

    @model_validator(mode="before")
    @classmethod
    def _without_rank(cls, given: object) -> object:
        """Earlier releases served these as vectors, of a rank that profiles and versions name."""
        if not isinstance(given, Mapping):
            return given
        gone = ("rank", "large_rank", *(() if "seed" in cls.model_fields else ("seed",)))
        return {name: value for name, value in given.items() if name not in gone}


class EASESettings(ItemToItemSettings):
    ridge: Above = Field(default=500.0, description="λ.")
    dense_items: Count = Field(
        default=4_000,
        description="The so many most used items are solved, in 4 * items² bytes (64 MB at "
        "4,000); the others have no weights.",
    )


Weighting = Literal["cosine", "tfidf", "bm25"]


class KNNSettings(ItemToItemSettings):
    """Of users."""

    neighbours: Count = 100
    weighting: Weighting = "tfidf"
    common_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="What more than this share touched says nothing and is left out: with less "
        "than 1 large logs are much quicker.",
    )
    most_fans: Count = Field(
        default=2_000,
        description="Users who like one item that a feed looks at, to find similar users.",
    )
    threads: Count = 1


class ItemKNNSettings(KNNSettings):
    """Of items."""

    neighbours: Count = 256
    weighting: Weighting = "bm25"


class GraphFilterSettings(ItemToItemSettings):
    threads: Count = 1


class TransitionsSettings(Settings):
    """
    Attributes:
        scale: steps at which what comes after counts 1/e of what comes next.
        reach: how many of the items that come after are looked at.
        fade: how fast what a user did before their newest item counts less, in items; null: all
            count the same.
        kept: the strongest followers of an item that are served.
    """

    scale: Above = 5.0
    reach: Count = 20
    fade: Above | None = 2.0
    kept: Count = 200


class LinearTransitionsSettings(TransitionsSettings):
    scale: Above = 20.0
    reach: Count = 60
    fade: Above | None = 4.0
    ridge: Above = Field(default=400.0, description="λ.")
    dense_items: Count = Field(
        default=4_000, description="As of ``ease``: the others have no weights."
    )


class SessionEASESettings(LinearTransitionsSettings):
    scale: Above = 10.0
    reach: Count = 40
    fade: Above | None = None
    ridge: Above = Field(default=200.0, description="λ.")
    kept: Count = 500


class ContentSettings(Settings):
    """
    Attributes:
        neighbours: the most similar items of each that are served.
        fade: as of ``transitions``.
    """

    neighbours: Count = 100
    fade: Above = 4.0
    threads: Count = 1


class TasteSettings(Settings):
    pass


class GroupsSettings(Settings):
    """
    Attributes:
        features: the so many most common features of users.
        least_users: a feature of fewer says nothing.
        smoothing: items as everybody likes them that a group's own are mixed with.
    """

    features: Count = 100
    least_users: Count = 10
    smoothing: Above = 20.0


Part = Literal[
    "lightfm_hybrid",
    "als",
    "pure_svd",
    "ease",
    "graph_filter",
    "item_knn",
    "user_knn",
    "transitions",
    "linear_transitions",
    "session_ease",
    "content",
    "taste",
    "groups",
    "popularity",
]


class BlendSettings(Settings):
    """
    Attributes:
        parts: recommenders whose scores are weighed; those that cannot be trained are left out.
        held_back: what the weights are learnt from: each user's newest items, as feeds are
            asked for what comes next, or items drawn at random, for a test that is so.
        share: of each user's liked items that are held back.
        max_users: users whose newest items are held back for that.
        candidates: of each part's best items so many are looked at.
        least: a part of less than this share of all weights is left out.
    """

    parts: tuple[Part, ...] = (
        "als", "pure_svd", "ease", "graph_filter", "item_knn", "user_knn", "transitions",
        "linear_transitions", "session_ease", "content", "taste", "groups", "popularity",
    )  # fmt: skip
    held_back: Literal["newest", "random"] = "newest"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    max_users: Count = 2_000
    candidates: Count = 10
    least: Annotated[float, Field(ge=0, lt=1)] = 0.01
    seed: Seed = 42


class Known(NamedTuple):
    """A recommender.

    Attributes:
        made_by: its class, by module below ``models.recommenders`` and name: what reads a profile
            loads no class.
    """

    made_by: str
    settings: type[Settings]


RECOMMENDERS: dict[str, Known] = {
    "lightfm_hybrid": Known("factorisation.lightfm_hybrid:LightFMHybrid", BySection),
    "lightfm": Known("factorisation.lightfm:LightFM", LightFMAloneSettings),
    "als": Known("factorisation.als:ALS", ALSSettings),
    "bpr": Known("factorisation.bpr:BPR", BPRSettings),
    "nmf": Known("factorisation.nmf:NMF", NMFSettings),
    "pure_svd": Known("factorisation.pure_svd:PureSVD", PureSVDSettings),
    "ease": Known("neighbours.ease:EASE", EASESettings),
    "item_knn": Known("neighbours.knn:ItemKNN", ItemKNNSettings),
    "graph_filter": Known("neighbours.graph_filter:GraphFilter", GraphFilterSettings),
    "user_knn": Known("neighbours.knn:UserKNN", KNNSettings),
    "transitions": Known("neighbours.transitions:Transitions", TransitionsSettings),
    "linear_transitions": Known(
        "neighbours.transitions:LinearTransitions", LinearTransitionsSettings
    ),
    "session_ease": Known("neighbours.transitions:SessionEASE", SessionEASESettings),
    "content": Known("by_features.content:Content", ContentSettings),
    "taste": Known("by_features.taste:Taste", TasteSettings),
    "groups": Known("by_features.groups:Groups", GroupsSettings),
    "blend": Known("blending.blend:BlendOfTables", BlendSettings),
    "popularity": Known("simple.popularity:PopularityRecommender", BySection),
    "heuristic": Known("simple.heuristic:Heuristic", BySection),
}
"""By name. A new one is a file below ``models/recommenders/`` and an entry here."""
SETTINGS = {name: known.settings for name, known in RECOMMENDERS.items()}

_fields: dict[str, Any] = {name: (kind, kind()) for name, kind in SETTINGS.items()}
_Named = create_model("_Named", __config__=ConfigDict(extra="forbid"), **_fields)


def _by_name(chosen: object) -> object:
    """Each recommender's settings by its own class, in the order of the mapping."""
    if not isinstance(chosen, Mapping):
        return chosen
    if not chosen:
        raise ValueError(f"name at least one of {', '.join(SETTINGS)}")
    unknown = [name for name in chosen if name not in SETTINGS]
    if unknown:
        raise ValueError(f"no recommender {unknown[0]!r}; there are {', '.join(SETTINGS)}")
    if "heuristic" in chosen and "popularity" not in chosen:
        raise ValueError("heuristic has no vectors: name popularity too, whose serve for it")
    named = _Named.model_validate({name: {} if of is None else of for name, of in chosen.items()})
    return {name: getattr(named, name) for name in chosen}


Chosen = Annotated[dict[str, SerializeAsAny[Settings]], BeforeValidator(_by_name)]
"""Name → settings of the recommenders that compete, the preferred first."""

DEFAULT = ("blend", "lightfm_hybrid", "ease", "als", "user_knn", "popularity", "heuristic")
