"""Every route bears what is sent to it: a few inputs of each kind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # before a test has threads: see below

from benchmarks.parts.fuzz_inputs import CHANGES, Input, inputs
from serving import openapi
from serving.launch import ROOT
from tests.benchmarks.test_benchmarks import rows_of


def test_a_few_inputs_over_every_route(tmp_path: Path) -> None:
    """And nothing is left: no service, no Postgres, no folder."""
    # In a process of its own: it imports in several threads, and pytest rewrites what it imports,
    # which Python 3.11 may end with a SystemError (CPython's issue 106905).
    command = [sys.executable, "-m", "benchmarks.fuzz", "--inputs", "80"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout, "fuzz")
    assert rows["inputs"]["value"] == 80
    for name in ("5xx", "hangs", "workers that died"):
        assert rows[name]["value"] == 0
    assert {"memory of worker 1", "memory of worker 2"} <= rows.keys()
    assert not list(tmp_path.glob("feedwright-fuzz-*"))
    left = [one for one in psutil.process_iter(["environ", "cmdline"])
            if (one.info["environ"] or {}).get("TMPDIR") == str(tmp_path)
            or any(str(tmp_path) in part for part in one.info["cmdline"] or ())]  # fmt: skip
    assert left == []


def test_inputs_are_of_every_route() -> None:
    document = openapi.document()
    document["paths"] = dict(list(document["paths"].items())[:4])
    calls = sum(len(path.keys() - {"parameters"}) for path in document["paths"].values())
    for count in (60, calls):
        made = inputs(schemathesis.openapi.from_dict(document), count, 7)
        assert len(made) == count
        routes = Counter(one.route for one in made)
        assert len(routes) == calls
        assert max(routes.values()) <= min(routes.values()) + 1
        assert len({one.kind for one in made}) > min(5, calls // 2)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("body", [b"", b'{"a": [{"b": 1}], "c": "d"}', b"[1]", b"\xff"])
def test_a_change_of_any_input_can_be_sent(
    change: Callable[[Input, random.Random], Input], body: bytes
) -> None:
    one = Input("POST /a", "POST", b"/a?b=c", [(b"Host", b"h")], body, len(body))
    for number in range(20):
        assert b" HTTP/1.1\r\n" in change(one, random.Random(number)).encoded()
