"""What users do: the types of interactions, and all that is known of each.

The twelve of ``DEFAULT_TYPES`` are always there. A profile adds its own, or changes these, under
``interaction_types``. Nothing else lists types: ingest, tracker, loaders, SQL and the maths ask.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_serializer,
    model_validator,
)

from models.profile.section import Section

Weight = Annotated[float, Field(ge=-1e6, le=1e6)]  # sums of many must stay finite in float32
Weights = Mapping[Any, float]
"""Weight of each interaction type."""
Count = Literal["impression", "view", "click", "like", "save", "share", "conversion", "dismiss"]
WeightField = Literal["weight", "engagement_weight", "interest"]
NAME = "^[a-z][a-z0-9_]{0,39}$"
"""What a type may be called; also what the tables take for one."""
MOST = 60
"""Types that a profile may have: int8 counts those of a snapshot and of the profile now."""


class InteractionType(Section):
    """One type. What is left out is not so."""

    weight: Weight | None = Field(
        default=None, description="In the interaction matrix; before `interaction_weights`."
    )
    engagement_weight: Weight | None = Field(
        default=None,
        description="In an item's engagement score; before `engagement_weights`. A type of the "
        "profile's own that does not say has its `weight`.",
    )
    interest: Weight | None = Field(
        default=None,
        description="What it adds to the user's interest in the item's tags, category and city; "
        "before `online.weights`. A type of the profile's own that does not say has its `weight`.",
    )
    ranker_weight: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None,
        description="Of a positive example of the logistic ranker; a wanted type of the profile's "
        "own that does not say has 1.",
    )
    wanted: bool | None = Field(
        default=None,
        description="true: the user chose the item, and has it no longer dismissed. false: the "
        "user wants it out of their feed.",
    )
    undoes: tuple[str, ...] = Field(
        default=(), description="Types that do not count where this came last, or at the same time."
    )
    counts_as: Count | None = Field(
        default=None,
        description="The number that it adds to: CTR is clicks by impressions, conversion is "
        "conversions by clicks. A conversion takes a place of the item, and `exclude_applied` "
        "hides the item from who has it.",
    )
    timed: bool = Field(
        default=False,
        description="Its metadata has `seconds`; fewer than `online.min_dwell_seconds`, or none, "
        "say nothing.",
    )
    needs_item: bool = Field(
        default=True,
        description="false: what somebody looked for; tags, category and city in its metadata.",
    )
    attributed: bool = Field(
        default=True, description="Gets variant and position of the feed that its metadata names."
    )
    reason: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="English text of an item like one that the user did this to, with {title}.",
    )
    reason_code: Annotated[str, Field(pattern="^because_[a-z0-9_]{1,60}$")] | None = Field(
        default=None, description="Message id of the reason; left out: because_of_ and the name."
    )
    words: tuple[str, ...] = Field(
        default=(), description="How logs call it, for `feedwright load` and `map`."
    )

    @field_validator("reason")
    @classmethod
    def _text(cls, value: str | None) -> str | None:
        try:
            named = {name for _, name, _, _ in Formatter().parse(value or "") if name is not None}
        except ValueError as error:
            raise ValueError(f"{error}; write {{title}} for the item's title") from error
        if named - {"title"}:
            raise ValueError(f"{{{min(named - {'title'})}}} is not known; there is {{title}}")
        return value


_DEFAULTS: dict[str, InteractionType] = {
    "impression": InteractionType(
        counts_as="impression",
        words=(
            "impressions", "impress", "show", "shown", "exposure", "displayed", "0", "false",
            "neutral",
        ),
    ),
    "view": InteractionType(
        interest=1, ranker_weight=0.25, counts_as="view",
        reason="Because you viewed {title}", reason_code="because_you_viewed",
        words=(
            "views", "pv", "pageview", "page_view", "detail", "visit", "open", "read", "seen",
            "browse", "product_view", "view_item", "page", "preview", "浏览", "просмотр",
            "ansicht", "vue", "vista",
        ),
    ),
    "click": InteractionType(
        interest=2, ranker_weight=0.4, counts_as="click",
        reason="Because you looked at {title}", reason_code="because_you_clicked",
        words=(
            "clicks", "clk", "clicked", "play", "listen", "watch", "1", "start", "cv", "点击",
            "true", "клик", "klick", "clic",
        ),
    ),
    "dwell": InteractionType(
        interest=1, ranker_weight=0.35, timed=True,
        reason="Because you viewed {title}", reason_code="because_you_viewed",
    ),
    "like": InteractionType(
        interest=3, wanted=True, counts_as="like",
        reason="Because you liked {title}", reason_code="because_you_liked",
        words=(
            "liked", "love", "upvote", "up", "thumbs_up", "positive", "favourite", "star",
        ),
    ),
    "save": InteractionType(
        interest=4, ranker_weight=1.2, wanted=True, counts_as="save",
        reason="Because you saved {title}", reason_code="because_you_saved",
        words=(
            "saved", "fav", "favorite", "bookmark", "wishlist", "cart", "carts", "addtocart",
            "add_to_cart", "added_to_cart", "add", "basket", "maybe", "interested",
            "add_to_wishlist", "collect", "收藏", "加购", "favorited", "follow", "followed",
            "subscribe",
        ),
    ),
    "share": InteractionType(
        interest=4, ranker_weight=0.6, wanted=True, counts_as="share",
        reason="Because you shared {title}", reason_code="because_you_shared",
        words=("shared", "repost", "retweet", "forward", "comment", "reply"),
    ),
    "apply": InteractionType(
        interest=5, ranker_weight=1.0, wanted=True, counts_as="conversion",
        reason="Because you applied to {title}", reason_code="because_you_applied",
        words=(
            "buy", "purchase", "purchased", "transaction", "order", "orders", "checkout",
            "bought", "book", "booking", "yes", "going", "attend", "conversion", "pay",
            "download", "rent", "convert", "install", "enroll", "register", "subscription",
            "购买", "покупка", "kauf", "achat", "compra",
        ),
    ),
    "unapply": InteractionType(
        interest=-2, undoes=("apply",), attributed=False,
        words=("cancel", "cancelled", "canceled", "refund", "return", "unsubscribe"),
    ),
    "dismiss": InteractionType(
        interest=-5, wanted=False, counts_as="dismiss",
        words=(
            "dislike", "disliked", "downvote", "down", "hide", "skip", "no", "negative",
            "remove_from_cart", "not_interested", "thumbs_down", "remove", "hate", "report",
        ),
    ),
    "search": InteractionType(
        interest=1, needs_item=False, attributed=False, words=("query",)
    ),
    "filter": InteractionType(interest=1, needs_item=False, attributed=False),
}  # fmt: skip


class InteractionTypes(RootModel[dict[str, InteractionType]]):
    """All types of a profile by name: those of ``DEFAULT_TYPES``, in their order, then its own.

    Written down are only its own, and what it says otherwise of the others.
    """

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        for name in given:
            if not isinstance(name, str) or not re.match(NAME, name):
                raise ValueError(f"interaction_types.{name!s:.60}: use a-z, 0-9 and _ in names")
        own = {
            name: {**_DEFAULTS[name].model_dump(exclude_unset=True), **entry}
            if name in _DEFAULTS and isinstance(entry, Mapping)
            else entry
            for name, entry in given.items()
        }
        return {**_DEFAULTS, **own}

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.root) > MOST:
            raise ValueError(f"{len(self.root)} types, with the defaults; at most {MOST}")
        texts: dict[str, str] = {}
        for name, entry in self.root.items():
            if unknown := set(entry.undoes) - self.root.keys():
                raise ValueError(
                    f"interaction_types.{name}.undoes: no type {min(unknown)!r}; there are "
                    + ", ".join(self.names)
                )
            if (reason := self.reason(name)) and texts.setdefault(*reason) != reason[1]:
                raise ValueError(
                    f"interaction_types.{name}.reason_code: {reason[0]} has another text already"
                )
        return self

    @model_serializer
    def _differences(self) -> dict[str, dict[str, Any]]:
        fresh = InteractionType()
        differences = {}
        for name, entry in self.root.items():
            usual = _DEFAULTS.get(name, fresh)
            changed = {
                field: value
                for field, value in vars(entry).items()
                if value != getattr(usual, field)
            }
            if changed or name not in _DEFAULTS:
                differences[name] = changed
        return differences

    def __contains__(self, name: object) -> bool:
        return name in self.root

    def __getitem__(self, name: str) -> InteractionType:
        return self.root[name]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.root)

    def counted_as(self, *counts: Count) -> list[str]:
        return [name for name, entry in self.root.items() if entry.counts_as in counts]

    @cached_property
    def impressions(self) -> frozenset[str]:
        """Those that say no more than that something was shown."""
        return frozenset(self.counted_as("impression"))

    @cached_property
    def without_item(self) -> frozenset[str]:
        return frozenset(name for name, entry in self.root.items() if not entry.needs_item)

    @cached_property
    def with_item(self) -> tuple[str, ...]:
        return tuple(name for name, entry in self.root.items() if entry.needs_item)

    @cached_property
    def timed(self) -> frozenset[str]:
        return frozenset(name for name, entry in self.root.items() if entry.timed)

    @cached_property
    def attributed(self) -> frozenset[str]:
        return frozenset(name for name, entry in self.root.items() if entry.attributed)

    @cached_property
    def conversions(self) -> frozenset[str]:
        return frozenset(self.counted_as("conversion"))

    @cached_property
    def of_applied(self) -> tuple[frozenset[str], frozenset[str]]:
        """Of which types the last says that somebody has applied to an item, and of which that
        they no longer have."""
        return self.conversions, self._undoing(self.conversions)

    @cached_property
    def of_dismissed(self) -> tuple[frozenset[str], frozenset[str]]:
        """The same of items that somebody does not want to see."""
        unwanted = frozenset(name for name, entry in self.root.items() if entry.wanted is False)
        wanted = frozenset(name for name, entry in self.root.items() if entry.wanted)
        return unwanted, wanted | self._undoing(unwanted)

    def against(self, name: str) -> frozenset[str]:
        """Types after which a user no longer has what ``name`` says."""
        unwanted, no_longer = self.of_dismissed
        return no_longer if name in unwanted else self._undoing(frozenset({name}))

    @cached_property
    def actions(self) -> tuple[str, ...]:
        """What a user can do with an item that they are shown."""
        return tuple(name for name in self.with_item if name not in self.impressions)

    @cached_property
    def interested(self) -> tuple[str, ...]:
        """Those that say of an item that the user may like it, the strongest first."""
        names = [
            name
            for name, entry in self.root.items()
            if entry.needs_item and entry.wanted is not False and not entry.undoes
            and name not in self.impressions
        ]  # fmt: skip
        return tuple(sorted(names, key=lambda name: -(self._own(name, "interest") or 0)))

    @cached_property
    def strongest(self) -> tuple[str, ...]:
        """Those with an item, by how much each says: what undoes or refuses an item first, then as
        ``interested``, then that it was shown."""
        against = [name for name in self.with_item if self.root[name].undoes]
        against += [name for name in self.with_item if self.root[name].wanted is False]
        shown = [name for name in self.with_item if name in self.impressions]
        return (*dict.fromkeys(against), *self.interested, *shown)

    @cached_property
    def ranker_weights(self) -> dict[str, float]:
        """Of the positive examples of the logistic ranker."""
        weights = {
            name: 1.0 if entry.ranker_weight is None and self.is_own(name) and entry.wanted
            else entry.ranker_weight
            for name, entry in self.root.items()
        }  # fmt: skip
        return {name: weight for name, weight in weights.items() if weight}

    @cached_property
    def called(self) -> dict[str, str]:
        """Type by each word that logs have for it. The names and words of the profile's own go
        before those of the defaults: it may have a `purchase` that is no `apply`."""
        own = {name: entry for name, entry in self.root.items() if self.is_own(name)}
        rest = {name: entry for name, entry in self.root.items() if name not in own}
        words: dict[str, str] = {}
        for types in (own, rest):
            words = {name: name for name in types} | words
            for name, entry in types.items():
                words = dict.fromkeys(entry.words, name) | words
        return words

    def reason(self, name: str) -> tuple[str, str] | None:
        """Message id and English text of what is recommended because of it; None: it is none."""
        entry = self.root.get(name)
        if entry is None or entry.reason is None:
            return None
        return entry.reason_code or f"because_of_{name}", entry.reason

    def weights(self, field: WeightField) -> dict[str, float]:
        """What the profile itself says of ``field``, by type."""
        weights = {name: self._own(name, field) for name in self.root}
        return {
            name: value
            for name, value in weights.items()
            if value is not None and value != getattr(_DEFAULTS.get(name), field, None)
        }

    def is_own(self, name: str) -> bool:
        """Whether the profile added it."""
        return name not in _DEFAULTS

    def _own(self, name: str, field: WeightField) -> float | None:
        entry = self.root[name]
        value: float | None = getattr(entry, field)
        return entry.weight if value is None and self.is_own(name) else value

    def _undoing(self, types: frozenset[str]) -> frozenset[str]:
        return frozenset(name for name, entry in self.root.items() if types & {*entry.undoes})


DEFAULT_TYPES = InteractionTypes({})
INTERESTS: dict[str, float] = {
    name: entry.interest for name, entry in _DEFAULTS.items() if entry.interest is not None
}
"""What each of the defaults teaches of taste."""
