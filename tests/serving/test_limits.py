"""Rate limits: never more than the bucket and what it gained; shared; forgiving."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.access import limits as limiting
from serving.access.caller import STATE, Caller
from serving.access.limits import SETS, WAYS, Buckets, Limits, charge_events

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(tmp_path: Path, clock: Clock) -> Iterator[Buckets]:
    made = Buckets(tmp_path / "limits", clock=clock)
    yield made
    made.close()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 5_000),
    calls=st.lists(
        st.tuples(st.floats(0, 40), st.integers(1, 1_000), st.booleans()), min_size=1, max_size=60
    ),
)
def test_no_window_sees_more_than_the_bucket_and_what_it_gained(
    tmp_path: Path, limit: int, calls: list[tuple[float, int, bool]]
) -> None:
    (tmp_path / "limits").unlink(missing_ok=True)
    clock = Clock()
    buckets = Buckets(tmp_path / "limits", clock=clock)
    taken: list[tuple[float, int]] = []
    for pause, wanted, part in calls:
        clock.now += pause
        got, wait = buckets.take("ann", wanted, limit, part=part)
        assert 0 <= got <= wanted
        assert got in (0, wanted) or part
        assert (wait == 0) == (got == wanted) or wait < 1e-3
        taken.append((clock.now, got))
    for first in range(len(taken)):
        total = 0
        for at, got in taken[first:]:
            total += got
            gained = (at - taken[first][0]) * limit / 60
            assert total <= limit + gained + 0.01
    buckets.close()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 5_000), wanted=st.integers(1, 5_000))
def test_who_waits_as_long_as_told_gets_it(tmp_path: Path, limit: int, wanted: int) -> None:
    (tmp_path / "limits").unlink(missing_ok=True)
    clock = Clock()
    buckets = Buckets(tmp_path / "limits", clock=clock)
    buckets.take("ann", limit, limit)  # all of it
    wanted = min(wanted, limit)
    got, wait = buckets.take("ann", wanted, limit)
    assert got == 0
    assert wait == pytest.approx(wanted * 60 / limit)
    clock.now += wait
    assert buckets.take("ann", wanted, limit) == (wanted, 0.0)
    buckets.close()


def test_names_do_not_share_a_bucket(buckets: Buckets) -> None:
    assert buckets.take("ann", 3, 3) == (3, 0.0)
    assert buckets.take("ann", 1, 3)[0] == 0
    assert buckets.take("bob", 3, 3) == (3, 0.0)
    assert buckets.take("\udcff", 1, 3) == (1, 0.0)  # what a path may hold


def test_a_clock_that_is_set_back_locks_nobody_out(buckets: Buckets, clock: Clock) -> None:
    buckets.take("ann", 60, 60)
    clock.now -= 86_400
    got, wait = buckets.take("ann", 1, 60)
    assert got == 0
    assert wait <= 1.001
    clock.now += 2
    assert buckets.take("ann", 1, 60) == (1, 0.0)


def test_a_crowd_does_not_push_out_who_is_at_the_limit(buckets: Buckets) -> None:
    buckets.take("ann", 60, 60)
    for number in range(SETS * WAYS):
        buckets.take(f"other {number}", 1, 60)
    assert buckets.take("ann", 1, 60)[0] == 0


def test_processes_share_the_table(tmp_path: Path) -> None:
    file = tmp_path / "limits"
    mine = Buckets(file, clock=lambda: 1e9)
    assert sum(mine.take("ann", 1, 100)[0] for _ in range(60)) == 60
    code = (
        "import sys; from pathlib import Path; from serving.access.limits import Buckets;"
        "b = Buckets(Path(sys.argv[1]), clock=lambda: 1e9);"
        "print(sum(b.take('ann', 1, 100)[0] for _ in range(60)))"
    )
    command = [sys.executable, "-c", code, str(file)]
    taken = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert int(taken) == 40


@pytest.fixture
def request_by(buckets: Buckets) -> Callable[..., Request]:
    def make(limits: tuple[int, int], caller: Caller) -> Request:
        state = Limits(buckets, *limits)
        return Request({"type": "http", limiting.STATE: state, STATE: caller})

    return make


def test_events_of_a_batch_are_granted_user_by_user(request_by: Callable[..., Request]) -> None:
    request = request_by((2, 0), Caller(frozenset({"track"}), "web", "k"))
    charged = charge_events(request, ["ann", "bob", None, "ann", "ann", None])
    assert charged.granted == [True, True, True, True, False, True]
    assert charged.retry_after == 30
    again = charge_events(request, ["ann"])
    assert (again.granted, again.retry_after) == ([False], 30)
    assert charge_events(request, [None, "bob"]).granted == [True, True]


def test_events_count_for_the_key_and_not_calls_alone(request_by: Callable[..., Request]) -> None:
    request = request_by((0, 10), Caller(frozenset({"track"}), "web", "k"))
    assert charge_events(request, [None] * 9).granted == [True] * 9
    with pytest.raises(HTTPException, match="10 a minute for this key"):
        charge_events(request, [None] * 9)
    local = request_by((0, 10), Caller(frozenset({"track"}), "local"))
    assert charge_events(local, [None] * 1_000).granted == [True] * 1_000
    assert charge_events(Request({"type": "http"}), ["ann"]).granted == [True]


def test_a_batch_that_no_minute_has_room_for_is_too_large(
    request_by: Callable[..., Request],
) -> None:
    small = Caller(frozenset({"track"}), "web", "k", limit_per_key=500)
    with pytest.raises(HTTPException, match="1,000, but this key may send 500 events") as refused:
        charge_events(request_by((0, 10), small), [None] * 1_000)
    assert refused.value.status_code == 413  # which clients answer with halves
    assert len(charge_events(request_by((0, 10), small), [None] * 500).granted) == 500


def test_a_key_may_have_limits_of_its_own(request_by: Callable[..., Request]) -> None:
    web = Caller(frozenset({"track"}), "web", "k")
    server = Caller(frozenset({"track"}), "server", "s", limit_per_key=50, limit_per_user=0)
    assert charge_events(request_by((2, 10), server), ["ann"] * 40).granted == [True] * 40
    with pytest.raises(HTTPException, match="50 a minute for this key"):
        charge_events(request_by((2, 10), server), ["ann"] * 40)
    assert charge_events(request_by((2, 10), web), ["bob"] * 3).granted == [True, True, False]
