"""What events and ratings of other products mean in our types; guesses, which a person checks."""

from __future__ import annotations

from storage.mapping import Step
from storage.proposal.looks import Column

KINDS = {
    "impression": ("impression", "impressions", "show", "shown", "exposure", "displayed", "0"),
    "view": (
        "view", "views", "pv", "pageview", "page_view", "detail", "visit", "open", "read", "seen",
        "browse", "product_view", "view_item",
    ),
    "click": ("click", "clicks", "clk", "clicked", "play", "listen", "watch", "1", "start", "cv"),
    "like": ("like", "liked", "love", "upvote", "thumbs_up", "positive", "favourite", "star"),
    "save": (
        "save", "saved", "fav", "favorite", "bookmark", "wishlist", "cart", "carts", "addtocart",
        "add_to_cart", "add", "basket", "maybe", "interested", "add_to_wishlist", "collect",
    ),
    "share": ("share", "shared", "repost", "retweet", "forward"),
    "apply": (
        "apply", "buy", "purchase", "purchased", "transaction", "order", "orders", "checkout",
        "book", "booking", "yes", "going", "attend", "conversion", "pay", "download", "rent",
    ),
    "unapply": ("unapply", "cancel", "refund", "return", "unsubscribe"),
    "dismiss": (
        "dismiss", "dislike", "disliked", "downvote", "hide", "skip", "no", "negative", "report",
        "remove_from_cart", "not_interested", "thumbs_down", "remove",
    ),
    "search": ("search", "query"),
    "filter": ("filter",),
}  # fmt: skip


def type_of(word: str) -> str | None:
    """Our type of an event that is called ``word``; None: its name says nothing."""
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    return next((kind for kind, words in KINDS.items() if plain in words), None)


def steps_of_rating(column: Column) -> list[Step]:
    """Likes, clicks and dismissals by where a number stands on its scale.

    On a scale from 1, numbers below stand for things seen without a rating.
    """
    low, high = column.low or 0.0, column.high or 0.0
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
    """More than usual is a like; usual is half of what there is."""
    usual = column.text.drop_nulls().str.strip_chars().cast(float, strict=False).median()
    bound = float(usual) if isinstance(usual, int | float) else 1.0
    return [Step(at_least=round(bound + 1, 2), type="like"), Step(type="click")]
