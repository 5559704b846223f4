"""What ratings and counts of other products mean in our types; guesses, which a person checks."""

from __future__ import annotations

import re

from models.profile.interaction_types import InteractionTypes
from storage.loading.mapping import Step
from storage.loading.names import type_of
from storage.loading.proposal.looks import Column

PERCENT = 5  # ratios above it, on average, are of 100
_REFUSING = re.compile(
    r"^-\d|(^|_)(not|no|never|un(?!i|t|der)|remov|delet|block|mut(e|ing)|ban(ned)?(_|$)|reject|declin|"
    r"refus|cancel|revok|withdr|refund|return|down|bad|negativ|dislik|hid|hate|report|wrong)"
)


def guess_of(word: str, types: InteractionTypes) -> str:
    """Our type of an event that is not known; what refuses or undoes is no interest."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|[^\w-]+", "_", word.strip()).lower()
    return "dismiss" if _REFUSING.search(plain) else _type_within(plain, types) or "click"


def tells_types(column: Column) -> bool:
    """Whether some of its words are known, or have a part that is: ``Product Added``."""
    words, types = column.text.drop_nulls().unique().head(50), column.types
    return any(
        type_of(word, types) or _type_within(re.sub(r"\W+", "_", word.lower()), types)
        for word in words
    )


def _type_within(plain: str, types: InteractionTypes) -> str | None:
    """By a part of the name; what is done with an item that was searched for is no search."""
    parts = [part for part in plain.split("_") if not part.isdigit()]
    kinds = (type_of(part, types) for part in reversed(parts))
    return next((kind for kind in kinds if kind and kind not in types.without_item), None)


def verdict_of(word: str) -> str:
    """Our type of what somebody answers who is asked whether they recommend it."""
    return "like" if word.strip().lower() in ("1", "true", "yes", "recommended") else "dismiss"


def steps_of_rating(column: Column) -> list[Step]:
    """Likes, clicks and dismissals by where a number stands on its scale.

    On a scale from 1, numbers below stand for things seen without a rating.
    """
    low, high = column.low or 0.0, column.high or 0.0
    if column.like(r"^[\d.]+\s*/\s*\d+$"):  # shares, as 13/20
        return [Step(at_least=0.8, type="like"), Step(at_least=0.6, type="click"),
                Step(type="dismiss")]  # fmt: skip
    if column.plain.endswith("ratio"):  # of a video that was watched, again and again
        whole = 100 if _median(column) > PERCENT else 1
        return [Step(at_least=whole, type="like"), Step(at_least=whole / 2, type="click"),
                Step(type="view")]  # fmt: skip
    if low < 0 < high <= 1:  # for, neither, against
        return [Step(at_least=round(high / 3, 2), type="like"), Step(at_least=0, type="view"),
                Step(type="dismiss")]  # fmt: skip
    if high <= 0 and low < 0:
        return [Step(at_least=0, type="view"), Step(type="dismiss")]
    if high <= 1:
        return [Step(at_least=1, type="like"), Step(type="view")]
    if low < -1:
        return [Step(at_least=high / 3, type="like"), Step(at_least=0, type="click"),
                Step(type="dismiss")]  # fmt: skip
    top = next((top for top in (5, 10, 100) if high <= top), high)
    like, click = round(0.8 * top, 1), round(0.6 * top, 1)
    steps = [Step(at_least=like, type="like"), Step(at_least=click, type="click")]
    if low <= 0:  # half a star is the least that people give
        worst = 1 if top >= 10 else 0.5
        return [*steps, Step(at_least=worst, type="dismiss"), Step(type="view")]
    return [*steps, Step(type="dismiss")]


def steps_of_count(column: Column) -> list[Step]:
    """More than usual is a like; usual is half of what there is. Below 0 it is taken back."""
    like = Step(at_least=round(_median(column) + 1, 2), type="like")
    if (column.low or 0) < 0:
        return [like, Step(at_least=0, type="click"), Step(type="unapply")]
    return [like, Step(type="click")]


def _median(column: Column) -> float:
    usual = column.text.drop_nulls().str.strip_chars().cast(float, strict=False).median()
    return float(usual) if isinstance(usual, int | float) else 1.0
