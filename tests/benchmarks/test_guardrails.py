"""The simulation of guardrails counts as the pipeline does, and judges by the same rule."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from benchmarks.guardrails import LIMITS, World, alarms, play
from models.experiments.guardrails import judge
from models.experiments.sequential import Moments
from models.profile.operation_sections import Guardrails
from serving.launch import ROOT
from tests.benchmarks.test_benchmarks import TINY, rows_of


def test_guardrails() -> None:
    """As a person runs it."""
    command = [sys.executable, "-m", "benchmarks.guardrails", *TINY, "--worlds", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout, "guardrails")
    assert rows["A/A, CTR 5 %: sequential, alarms"]["value"] <= 0.2
    assert rows["70 % drop: sequential, alarms"]["value"] == 1
    hours = {drop: rows[f"{drop} % drop: sequential, hours, 50%"]["value"] for drop in (20, 50, 70)}
    assert hours[70] < hours[50] < hours[20]


def test_the_rules_are_those_of_judge() -> None:
    world = World("50 % drop", drop=0.5, arm=60, control=90)
    arm, control = play(world, 4, np.random.default_rng(1))
    simple = Guardrails(rule="simple")
    for randomised in (True, False):
        found = alarms(arm, control, randomised=randomised)
        for at in np.ndindex(arm.shape[1:]):
            ours, theirs = ({"ctr": Moments(*side[:, *at].tolist())} for side in (arm, control))
            by_rule = {
                "simple": judge(ours, theirs, simple, randomised=randomised),
                "sequential": judge(ours, theirs, LIMITS, randomised=randomised),
            }
            for rule, verdict in by_rule.items():
                assert found[rule][at] == (verdict.status == "breach")


def test_counts_are_those_of_users() -> None:
    world = World("small", arm=30, control=50, a_visit=3)
    arm, control = play(world, 5, np.random.default_rng(2))
    for sums, users in ((arm, 30), (control, 50)):
        assert (np.diff(sums, axis=-1) >= 0).all()
        n, x, y, xx, yy, xy = sums[..., -1]
        assert (n <= users).all()
        assert (x <= y).all()
        assert (xx <= xy).all()
        assert (xy <= yy).all()
        assert (yy >= y**2 / n - 1e-9).all()
