"""What a user's events mean: like a snapshot that had known of them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalogue.fold_in import AGAINST, fold_in_of
from models.catalogue.history import Events, events_since, history_of
from models.catalogue.live import LiveCatalogue
from models.catalogue.tables.scores import TableScores
from models.catalogue.viewers.viewer import History
from models.data.ids import IdIndex
from models.data.interactions.matrices import interaction_matrix, recent_items
from models.feed.scoring.scores import table_scores
from models.profile.interaction_types import DEFAULT_TYPES
from models.profile.schema import Profile
from models.recommenders.base import signal
from models.recommenders.neighbours.ease import EASE, EASESettings
from tests.models.worlds import (
    MOMENT,
    PROFILE,
    Shelf,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    patient,
    random_vectors,
    shelf_of,
    snapshot_of,
)

HOUR = 3600.0
ITEMS = [
    {"id": f"i{n}", "tags": [f"t{n % 3}"], "category": f"c{n % 2}", "city": "Oslo"}
    for n in range(8)
]
BEFORE = [
    ("anna", "i0", "save", ago(days=2)),
    ("anna", "i1", "apply", ago(days=2)),
    ("anna", "i2", "dismiss", ago(days=2)),
    ("ben", "i0", "save", ago(days=3)),
    ("ben", "i5", "save", ago(days=3)),
]
PLACES = {"anna": 0}


class Event(NamedTuple):
    id: int
    item: int | None
    type: str
    hours: float = 1.0  # after the snapshot
    dwell: float = float("nan")
    tag: int = -1


def shelf() -> Shelf:
    rows = interactions_frame(BEFORE)
    dataset = dataset_of(catalogue_of([{"id": "anna"}, {"id": "ben"}], ITEMS), rows)
    snapshot = snapshot_of(dataset, random_vectors(dataset), interactions=rows)
    return shelf_of(LiveCatalogue(snapshot), patient(exploration={"share": 0.0}))


SHELF = shelf()


def columns(live: LiveCatalogue, events: list[Event]) -> Events:
    n = len(events)
    rows = np.array([-1 if e.item is None else e.item for e in events], np.int32)
    known = rows >= 0
    tags = np.full((n, live.items.tags.shape[1]), -1, np.int32)
    tags[:, :1] = np.array([[e.tag] for e in events], np.int32).reshape(n, 1)
    tags[known] = live.items.tags[rows[known]]
    categories, cities = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    categories[known], cities[known] = (
        live.items.category[rows[known]],
        live.items.city[rows[known]],
    )
    return Events(
        ids=np.array([divmod(UUID(int=e.id).int, 2**64) for e in events], np.uint64).reshape(n, 2),
        items=rows,
        types=np.array([live.types.add(e.type) for e in events], np.int8),
        times=np.array([MOMENT + e.hours * HOUR for e in events]),
        dwell=np.array([e.dwell for e in events]),
        tags=tags,
        categories=categories,
        cities=cities,
    )


def history(
    user: str,
    *events: Event,
    hours: float = 2.0,
    live: LiveCatalogue = SHELF.live,
    profile: Profile = SHELF.profile,
) -> History:
    return history_of(
        live,
        user,
        columns(live, list(events)),
        profile,
        fold_in_of(live),
        trained_at=MOMENT,
        now=MOMENT + hours * HOUR,
    )


def told(history: History) -> list[object]:
    return [
        *(getattr(history, name).tolist() for name in ("seen", "applied", "dismissed", "liked")),
        history.liked_weights.tolist(),
        history.recent.tolist(),
        history.recent_types.tolist(),
        [[part.tolist() for part in sums] for sums in history.interests.scores()],
        None if history.vector is None else history.vector.tolist(),
        history.mark,
    ]


drawn = st.lists(
    st.builds(
        Event,
        id=st.integers(1, 12),
        item=st.none() | st.integers(0, 7),
        type=st.sampled_from(DEFAULT_TYPES.names),
        hours=st.integers(-20, 20).map(float),
        dwell=st.sampled_from([float("nan"), 3.0, 60.0]),
        tag=st.integers(-1, 2),
    ),
    max_size=15,
    unique_by=lambda event: event.id,
)


@given(drawn, st.data())
def test_order_batches_and_repeats_cannot_matter(events: list[Event], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    shuffled = data.draw(st.permutations(events + again))
    assert told(history("anna", *shuffled)) == told(history("anna", *events))


@settings(max_examples=40)
@given(drawn)
def test_of_a_new_user_it_is_what_the_pipeline_makes(events: list[Event]) -> None:
    """The matrix, the last word and the recent items of ``models.data.interactions.matrices``."""
    events = [e for e in events if e.item is not None and e.type != "dwell"]
    found = history("new", *events)
    live = SHELF.live
    users, items = (
        dataset_of(catalogue_of([{"id": "new"}], ITEMS), interactions_frame([])).matrix.users,
        live.snapshot.items.ids,
    )
    frame = interactions_frame([("new", f"i{e.item}", e.type, ago(hours=-e.hours)) for e in events])
    matrix = interaction_matrix(frame, users, items, SHELF.profile.interaction_weights)
    assert found.seen.tolist() == matrix.values.indices.tolist()
    assert found.applied.tolist() == matrix.applied.indices.tolist()
    assert found.liked.tolist() == matrix.liked.indices.tolist()
    assert found.liked_weights.tolist() == pytest.approx(matrix.liked.data.tolist(), rel=1e-5)
    recent, _ = recent_items(frame, users, items, SHELF.profile.interaction_weights)
    assert found.recent.tolist() == [row for row in recent[0].tolist() if row >= 0]


def test_what_the_snapshot_knows_stays_and_is_not_doubled() -> None:
    nothing = history("anna")
    before = SHELF.live.viewer("anna")
    assert nothing.seen.tolist() == before.seen.tolist() == [0, 1, 2]
    assert nothing.dismissed.tolist() == before.dismissed.tolist() == [2]
    assert nothing.applied.tolist() == [1]
    again = history("anna", Event(1, 0, "save", -48.0))
    assert again.liked_weights.tolist() == pytest.approx(before.liked_weights.tolist(), rel=1e-6)
    assert again.vector is not None
    assert again.vector.tolist() == before.vector.tolist()  # type: ignore[union-attr]


def test_the_last_word_counts() -> None:
    assert history("anna", Event(1, 1, "unapply")).applied.tolist() == []
    assert history("anna", Event(1, 2, "like")).dismissed.tolist() == []
    assert history("anna", Event(1, 0, "dismiss")).dismissed.tolist() == [0, 2]
    both = [Event(1, 3, "dismiss", 1.0), Event(2, 3, "save", 0.5)]
    assert history("new", *both).dismissed.tolist() == [3]


def test_a_dismissed_item_is_gone_and_its_tags_sink() -> None:
    live = SHELF.live
    liked = Event(1, 3, "save")  # t0
    viewer = live.viewer("new", history=history("new", liked, Event(2, 4, "dismiss")))  # t1
    feed = SHELF.feed(viewer)
    assert "i4" not in feed
    assert feed.index("i0") < feed.index("i1")  # i0 has t0, i1 has t1
    shown = Shelf(
        live, patient(eligibility={"exclude_dismissed": False}), SHELF.shortlists, SHELF.indexes
    )
    assert "i4" in shown.feed(viewer)


def test_searches_count_and_hidden_tags_are_not_learned() -> None:
    tag = SHELF.live.tags.find("t2")
    found = history("new", Event(1, None, "search", tag=tag))
    viewer = SHELF.live.viewer("new", history=found)
    assert viewer.wanted_tags.tolist() == [tag]
    assert viewer.vector is None  # nothing was liked: the model still knows nothing
    first = SHELF.feed(viewer)[:2]
    assert set(first) <= {"i2", "i5"}
    hidden = found.interests.without_tags(np.array([tag], np.int32))
    assert len(hidden.tags.indices) == 0


@pytest.mark.parametrize(("seconds", "counts"), [(9.9, False), (10.0, True), (float("nan"), False)])
def test_a_short_dwell_says_nothing(seconds: float, counts: bool) -> None:
    found = history("new", Event(1, 3, "dwell", dwell=seconds))
    assert bool(len(found.interests.tags.indices)) is counts


def test_a_new_user_is_ranked_by_the_model_after_some_likes() -> None:
    live = SHELF.live
    likes = [Event(n, n, "save") for n in (3, 4, 5)]
    assert history("new", *likes[:2]).vector is None
    sooner = patient(online={"min_liked": 2})
    assert history("new", *likes[:2], profile=sooner).vector is not None
    viewer = live.viewer("new", history=history("new", *likes))
    assert viewer.row is None
    assert viewer.vector is not None
    ranking = SHELF.rank(viewer, "model")
    assert len(ranking.rows) == len(ITEMS)
    assert all(reason.text for reason in SHELF.reasons(viewer, ranking.rows))


def test_a_known_user_is_nudged_by_new_events_only() -> None:
    own = SHELF.live.viewer("anna").vector
    old = history("anna", Event(1, 3, "save", hours=-1.0)).vector
    new = history("anna", Event(1, 3, "save", hours=1.0)).vector
    assert own is not None
    assert old is not None
    assert new is not None
    assert old.tolist() == own.tolist() != new.tolist()


def by_ease(*, weighted: bool) -> tuple[EASE, LiveCatalogue]:
    dataset = dataset_of(
        catalogue_of([{"id": "anna"}, {"id": "ben"}], ITEMS), interactions_frame(BEFORE)
    )
    model = EASE(EASESettings(ridge=1.0, weighted=weighted)).fit(dataset)
    return model, LiveCatalogue(snapshot_of(dataset, model.vectors, recommender="ease"))


BY_TABLE = {weighted: by_ease(weighted=weighted) for weighted in (False, True)}


def own_scores(model: EASE, rows: list[tuple[str, str, str, datetime]]) -> np.ndarray:
    """Of the user of the rows, from the model's weights."""
    users, items = IdIndex.of([rows[0][0]]), BY_TABLE[False][1].snapshot.items.ids
    liked = interaction_matrix(
        interactions_frame(rows), users, items, PROFILE.interaction_weights
    ).liked
    row = signal(liked, weighted=model.settings.weighted)
    return (row @ model.table.related.to_csr(len(items))).toarray()[0]


def served_scores(live: LiveCatalogue, user: str, *events: Event) -> np.ndarray:
    viewer = live.viewer(user, history=history(user, *events, live=live))
    found = table_scores(live, viewer)["ease"]
    assert isinstance(found, TableScores)
    scores = np.zeros(found.n_items)
    scores[found.rows] = found.scores
    return scores


@pytest.mark.parametrize("weighted", [False, True])
@given(
    liked=st.dictionaries(
        st.sampled_from([0, 1, 5]) | st.integers(0, 7),
        st.sampled_from(["like", "save", "apply"]),
        min_size=1,
    )
)
def test_a_table_is_asked_with_what_just_happened(weighted: bool, liked: dict[int, str]) -> None:
    """A new user gets the scores of their row, and a known one those of the row made anew."""
    model, live = BY_TABLE[weighted]
    events = [Event(n, item, kind) for n, (item, kind) in enumerate(liked.items())]
    assert history("new", *events, live=live).vector is not None
    rows = [("new", f"i{item}", kind, ago(days=0)) for item, kind in liked.items()]
    assert served_scores(live, "new", *events) == pytest.approx(own_scores(model, rows), abs=1e-5)
    more = [e for e in events if e.item not in (0, 1, 2)]  # of which she has said nothing yet
    rows = [*BEFORE[:3], *(("anna", f"i{e.item}", e.type, ago(days=0)) for e in more)]
    assert served_scores(live, "anna", *more) == pytest.approx(own_scores(model, rows), abs=1e-5)


def test_a_table_unlearns_and_turns_away() -> None:
    model, live = BY_TABLE[False]
    dropped = served_scores(live, "anna", Event(1, 0, "dismiss"))
    without = own_scores(model, BEFORE[1:3])
    liked = own_scores(model, BEFORE[:3]) - without  # what i0 adds
    assert liked.any()
    assert dropped == pytest.approx(without - AGAINST * liked, abs=1e-5)
    assert history("new", Event(1, 5, "dismiss"), live=live).vector is None


def test_the_window_holds_ten_half_lives_and_all_since_training() -> None:
    now = MOMENT + 100 * 24 * HOUR
    assert events_since(now, PROFILE, now) == now - 720 * HOUR
    assert events_since(MOMENT, PROFILE, now) < MOMENT
