"""Which column means what: by its name where it has one, and by what stands in it."""

from __future__ import annotations

import polars as pl

from storage.loading.names import NAMES, core, role_of, type_of, type_of_flag
from storage.loading.proposal.kinds import tells_types
from storage.loading.proposal.looks import HALF, MOSTLY, Column, Look
from storage.loading.reading.forms.form import BY_COLUMNS
from storage.loading.reading.forms.shapes import HEADING
from storage.loading.reading.rows import follows
from storage.loading.reading.typed_events import FLAG
from storage.loading.values.times import TimeReader

ENDS = {"title": ("title", "name"),
        "occurred_at": ("timestamp", "datetime", "date", "time", "edat", "edon")}  # fmt: skip
OF_OTHERS = ("user", "review", "profile", "brand", "birth", "release", "publish", "expir", "end",
             "conversion", "delivery", "due", "delet", "join", "regist", "signup", "since",
             "valid")  # fmt: skip
OF_PEOPLE = ("user", "billing", "shipping", "customer", "buyer", "client", "recipient", "member",
             "contact", "seller", "firstname", "lastname", "middlename", "fullname", "surname",
             "familyname", "givenname", "nickname")  # fmt: skip
"""What names begin with that are never those of items: they would be shown in the feed."""
CORES = {
    role: {core(name) for name in NAMES[role]} - {"", "event", "status"}
    for role in ("user_id", "item_id")
}
IS_VERDICT = r"(?i)^(0|1|true|false|yes|no|recommended|not recommended)$"
MANY = 5  # different values, of which a pair of columns tells something
MOST_KINDS = 50  # of events, that have names
FEW = 2  # rows, from which nothing follows
WIDE = 10  # columns of a matrix, besides that of its rows
BOOKS = ("isbn", "isbn13", "bookid", "booktitle", "additionalauthors")
PEOPLE = ("name", "fullname", "who", "critic", "author")
NO_ITEM = (*NAMES["session"], *NAMES["lat"], *NAMES["lon"], "conversionid", "clickid", "reviewid",
           "impressionid", "requestid", "eventid", "rowid", "id", "index")  # fmt: skip
OF_ROWS = ("itemid", "item")  # may be the number of a line of an order, beside its product
PRODUCTS = ("productid", "product", "productsku", "itemsku", "lineitemsku", "sku", "skuid", "asin",
            "articleid", "variantid", "goodsid", "stockcode")  # fmt: skip
ORDERS = ("orderid", "basketid", "transactionid", "invoiceno", "invoice")
OLDEST = 6e8  # seconds since 1970, in 1989: smaller numbers are rather ids
_ASIN = r"^(B[0-9A-Z]{9}|[0-9]{9}[0-9X])$"
_REVIEWER = r"^A[0-9A-Z]{9,20}$"


def named(look: Look, role: str, taken: set[str]) -> Column | None:
    """The column whose name is the surest for ``role`` and whose cells do not speak against it."""
    there = {column.plain: column for column in reversed(look.columns) if column.name not in taken}
    fits = _FITS.get(role, lambda column: True)
    names = [
        *NAMES[role],
        *(name for end in ENDS.get(role, ()) for name in there if _ends(name, end)),
        *(name for name in there if core(name) in CORES.get(role, ())),
    ]
    match = next((there[name] for name in names if name in there and fits(there[name])), None)
    if role == "item_id" and match and match.plain in OF_ROWS and _numbers_rows(match):
        products = (there[name] for name in PRODUCTS if name in there and fits(there[name]))
        match = next((product for product in products if not product.is_unique), match)
    return match


def _numbers_rows(column: Column) -> bool:
    return column.is_unique and column.filled > FEW


def unread_time(look: Look) -> Column | None:
    """A column that is called a time, and has none that are understood."""
    there = {column.plain: column for column in look.columns if column.filled}
    ends = (name for end in ENDS["occurred_at"] for name in there if _ends(name, end))
    return next((there[name] for name in (*NAMES["occurred_at"], *ends) if name in there), None)


def _ends(name: str, end: str) -> bool:
    return name.endswith(end) and not name.startswith(OF_OTHERS)


def is_id(column: Column) -> bool:
    is_short = column.whole > MOSTLY or column.codes > MOSTLY
    return column.filled > 0 and is_short and column.length < 65


def _may_be_id(column: Column) -> bool:
    """Whether a column that is called an id may be one: it has values, and no objects or lists."""
    return column.filled > 0 and column.length < 100 and not column.like(r"^\s*[\[{]")


def _may_be_item(column: Column) -> bool:
    if column.plain in ("event", "eventid") and (_numbers_rows(column) or _names_events(column)):
        return False
    return _may_be_id(column) and not is_kind(column)


def _names_events(column: Column) -> bool:
    """Whether its words say what was done, as ``page_view``, and not at which event."""
    return column.distinct <= MOST_KINDS and not column.like(r"\d") and tells_types(column)


def is_flag(column: Column) -> bool:
    """Whether it says of each row if, or how often, one thing was done."""
    is_known = type_of_flag(column.name, column.types) is not None
    return is_known and column.like(FLAG)


def is_matrix(look: Look) -> bool:
    """Whether a row has the ratings of one user, and each column those of one item."""
    rest = look.columns[1:]
    if len(rest) < WIDE or any(role_of(column.name) == "item_id" for column in look.columns):
        return False
    cells = [c for c in rest if c.low is not None and c.numbers > MOSTLY and _is_small(c)]
    return len(cells) > MOSTLY * len([column for column in rest if column.filled])


def is_libsvm(look: Look) -> bool:
    """Whether its cells are numbers of features and their values, as ``17:0.5``."""
    return sum(column.like(r"^\d+:-?[\d.]+(e-?\d+)?$") for column in look.columns) > 1


def _is_small(column: Column) -> bool:
    return (column.low or 0) >= -100 and (column.high or 0) <= 100


def is_scale(column: Column) -> bool:
    """Numbers as ratings are: few values, or a small range."""
    if column.numbers < MOSTLY or column.low is None or column.high is None:
        return False
    return column.low >= -10 and column.high <= 10 and (column.distinct > 1 or column.pointed)


def is_title(column: Column) -> bool:
    if column.like(r"^[0-9a-fA-F-]{16,}$") or column.like(r"^\s*[\[{]"):
        return False  # keys and objects
    return column.numbers < 0.5 and 4 < column.length < 120 and column.distinct > 1


def is_kind(column: Column) -> bool:
    """Names of events, most of which we know."""
    words = column.text.drop_nulls().unique().to_list()[:MOST_KINDS]
    known_words = sum(type_of(word, column.types) is not None for word in words)
    return column.numbers < 0.5 and len(words) <= 30 and known_words > len(words) / 2


_FITS = {
    "user_id": _may_be_id,
    "session": is_id,
    "item_id": _may_be_item,
    "type": lambda column: 0 < column.distinct <= 50 and column.length <= 40,
    "verdict": lambda column: column.like(IS_VERDICT),
    "occurred_at": lambda column: column.are_times(TimeReader(), HALF) or column.like(r"\d[/-]\d"),
    "rating": lambda column: column.numbers > MOSTLY,
    "count": lambda column: column.numbers > MOSTLY,
    "title": lambda column: (
        column.filled > 0 and column.numbers < 0.5 and not column.plain.startswith(OF_PEOPLE)
    ),
    "price_min": lambda column: column.numbers > 0,
    "lat": lambda column: column.numbers > MOSTLY,
    "lon": lambda column: column.numbers > MOSTLY,
}


def of_events(look: Look) -> dict[str, str]:
    """Role -> column of a file that may hold interactions; without user or item it is none."""
    roles = _by_content(look) if look.form.header is False else _by_name(look)
    within = [c.name for c in look.columns if look.inner and c.name.startswith(f"{look.inner}.")]
    id, label = f"{look.inner}.id", f"{look.inner}.label"
    if look.form.kind in ("csv", *BY_COLUMNS) and {*within} in ({id}, {id, label}):
        roles["item_id"] = id  # a list of ids alone
        roles.pop("type", None)
        if label in within and look.column(label).filled:
            roles["type"] = label
    return roles


def _by_name(look: Look) -> dict[str, str]:
    roles: dict[str, str] = {}
    taken: set[str] = set()
    order = ("user_id", "session", "item_id", "occurred_at", "verdict", "rating", "count", "type")
    for role in order:
        if role in ("rating", "count", "type") and {"rating", "count", "verdict"} & set(roles):
            continue
        column = named(look, role, taken)
        if role == "type" and column and not tells_types(column):
            other = named(look, role, taken | {column.name})
            column = other if other and tells_types(other) else column
        if column:
            roles[role] = column.name
            taken.add(column.name)
    if verdict := roles.pop("verdict", None):
        roles["type"] = verdict
    _shape_of_amazon(look, roles)
    if "user_id" in roles and "session" in roles:
        words = look.column(roles["user_id"])
        nothing = int(words.text.is_in(words.words).sum()) + words.text.null_count()
        if nothing > look.rows / 2:
            del roles["user_id"]
    if "user_id" not in roles and "session" in roles:
        roles["user_id"] = roles["session"]
    roles.pop("session", None)
    if "user_id" in roles and "item_id" not in roles:  # an id that comes again is none of the row
        ids = [c.name for c in look.columns if c.plain == "id" and is_id(c) and not c.is_unique]
        roles |= {"item_id": ids[0]} if ids else {}
    is_log = {"rating", "count", "type", "occurred_at"} & set(roles)
    if "item_id" not in roles and is_log and (column := named(look, "title", taken)):
        roles["item_id"] = column.name  # games and songs that have no id but their name
    _by_neighbours(look, roles)
    if {"user_id", "item_id"} <= set(roles) and "occurred_at" not in roles:
        times = [
            column
            for column in look.columns
            if column.name not in roles.values() and _is_ours(column)
        ]
        roles |= {"occurred_at": times[0].name} if len(times) == 1 else {}
    if "type" in roles and look.column(roles["type"]).distinct > 30:
        del roles["type"]
    return roles


def _by_neighbours(look: Look, roles: dict[str, str]) -> None:
    """Of user and item the one that has an unknown name, where the other is known."""
    taken = set(roles.values())
    ids = [
        column
        for column in look.columns
        if column.name not in taken and is_id(column) and not column.is_unique
        if column.plain not in NO_ITEM and not is_flag(column)
    ]
    if "item_id" not in roles:
        pairs = {column.plain.removesuffix("title").removesuffix("name") for column in look.columns}
        paired = (each for each in ids if each.plain.removesuffix("id") in pairs - {each.plain})
        if (column := next(paired, None)) is not None:
            roles["item_id"] = column.name
            ids.remove(column)
        elif "user_id" in roles and (
            each := next((c for c in ids if c.plain.endswith("id")), None)
        ):
            roles["item_id"] = each.name
    is_alone = "item_id" in roles and "user_id" not in roles
    if is_alone and ids and not look.column(roles["item_id"]).is_unique:
        item = look.column(roles["item_id"])
        ids = [column for column in ids if _may_be_user(column, item)]
        named_ones = [column for column in ids if not column.plain.startswith("column")]
        roles |= {"user_id": (named_ones or ids)[0].name} if ids else {}
    elif is_alone:  # names of people, who come again
        item = look.column(roles["item_id"])
        people = [c for c in look.columns if c.plain in PEOPLE and not c.is_unique]
        if item.is_unique or any(column.plain in BOOKS for column in look.columns):
            people = [person for person in people if person.plain != "author"]
        roles |= {"user_id": people[0].name} if people else {}


def _may_be_user(column: Column, item: Column) -> bool:
    """Whether a column that is called like no user may still tell them: no year, address or word
    that is the same in all rows, and nothing that the item tells."""
    if column.distinct < 2 or column.like(r"^((19|20)\d\d(\.0)?$|https?://)"):
        return False
    if role_of(column.name) not in (None, "user_id") or core(column.plain) in CORES["item_id"]:
        return False
    comes_again = 2 * item.distinct <= item.filled
    return not (comes_again and follows(column.text, item.text))


def _shape_of_amazon(look: Look, roles: dict[str, str]) -> None:
    if roles.get("user_id") and look.column(roles["user_id"]).like(_ASIN):
        roles["user_id"], roles["item_id"] = roles["item_id"], roles["user_id"]


def _by_content(look: Look) -> dict[str, str]:
    """Without a header: times, ratings and kinds by what they are; then users go before items."""
    left = [column for column in look.columns if column.filled]
    roles: dict[str, str] = {}

    def take(role: str, column: Column | None) -> None:
        if column is not None:
            roles[role] = column.name
            left.remove(column)

    if look.form.shape == "headed":
        take("item_id", look.column(HEADING))
    moments = [column for column in reversed(left) if _is_moment(column)]
    take("occurred_at", min(moments, key=lambda column: column.numbers > MOSTLY, default=None))
    degrees = [column for column in left if _is_degree(column)]
    if len(degrees) >= 2:
        take("lat", degrees[0])
        take("lon", degrees[1])
    take("type", next((column for column in left if is_kind(column)), None))
    ids = [each for each in left if is_id(each) and each.distinct > 1 and not each.pointed]
    scales = [
        column
        for column in left[1:]
        if is_scale(column) and not (column in ids[:2] and len(ids) < 3 and "item_id" not in roles)
    ]
    if scales and "type" not in roles:
        stars = [scale for scale in scales if (scale.low or 0) > 0 and scale.high in (5, 10)]
        take("rating", (stars or scales)[-1])
    ids = [column for column in ids if column in left]
    if look.inner and ids:
        ids = [column for column in ids if column.like(r"^[A-Za-z]")] or ids
    take("user_id", ids[0] if ids else None)
    others = [column for column in ids[1:] if column in left]
    titles = [column for column in left if is_title(column) and column not in others]
    if "item_id" not in roles:
        take("item_id", _item(look, others, titles))
    if "item_id" in roles and "rating" not in roles and "type" not in roles:
        last = next((c for c in reversed(left) if c.numbers > MOSTLY and c.low is not None), None)
        if last is not None and last.whole > MOSTLY and last is look.columns[-1]:
            take("count", None if any(_is_end(last, each) for each in left) else last)
    if {"user_id", "item_id"} <= set(roles):
        user, item = look.column(roles["user_id"]), look.column(roles["item_id"])
        if user.like(_ASIN) and item.like(_REVIEWER):
            roles["user_id"], roles["item_id"] = item.name, user.name
    for column in titles:
        if column in left and "title" not in roles and column.name != roles.get("item_id"):
            take("title", column)
    return roles


def _item(look: Look, ids: list[Column], titles: list[Column]) -> Column | None:
    """The id before its title, or after the place; else the first; a title where there is no id."""
    names = [column.name for column in look.columns]
    for column in ids:
        after = names.index(column.name) + 1
        if after < len(names) and names[after] in {title.name for title in titles}:
            return column
    if ids:
        return ids[-1] if len(ids) == 1 else ids[0]
    return titles[0] if titles else None


def _is_moment(column: Column) -> bool:
    """A time with no doubt: no ids, years or small numbers."""
    if column.numbers > MOSTLY and (column.low is None or column.low < OLDEST):
        return False
    return column.is_time


def _is_end(last: Column, start: Column) -> bool:
    """Whether ``last`` is never before ``one`` and close to it, as an end is to its start."""
    if start is last or start.numbers < MOSTLY or start.distinct < MANY:
        return False
    first, end = (column.text.cast(pl.Float64, strict=False) for column in (start, last))
    length = (end - first).drop_nulls().sort()
    middle = float(length[len(length) // 2]) if len(length) else 0.0
    return bool((length >= 0).all()) and 2 * middle < (last.high or 0) - (last.low or 0)


def _is_ours(column: Column) -> bool:
    """A time of the row, whatever it is called, and not of the user or of the item."""
    return not column.plain.startswith(OF_OTHERS) and _is_moment(column)


def _is_degree(column: Column) -> bool:
    """Degrees with their decimals, most of them to a hundred metres."""
    if column.low is None or column.high is None or column.low < -180 or column.high > 180:
        return False
    exact = column.text.drop_nulls().str.contains(r"\.\d{3,}$").sum()
    return column.like(r"^-?\d{1,3}\.\d+$") and exact > column.filled / 2
