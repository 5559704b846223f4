"""How good the feed is on public data, beside every recommender alone: all trained and judged in
this run.

    python -m benchmarks.quality --data ml-100k [--only feed ease]
    python -m benchmarks.quality --data ml-windows|gowalla|beauty --path FOLDER
    python -m benchmarks.quality --data sequences --path FILE

MovieLens 100K comes with the sample's wheel; the others are read from a folder that you have.
Prints one JSON document, and a table on standard error. ``docs/quality.md`` says what is done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import report
from benchmarks.common.report import BenchmarkError, Row, log
from benchmarks.parts.quality_data import DATA, Protocol
from benchmarks.parts.quality_lists import BARE, LARGE, SLOW, STAGES, Bench, Judged
from models.evaluation.metrics import list_quality
from storage.loading.log import LoadError


def measure(protocol: Protocol, only: Sequence[str]) -> list[Row]:
    """The rows of all cuts' users together.

    Raises:
        BenchmarkError: nobody is to be judged, or no row could be made.
    """
    names, stages = (
        [name for name in BARE if name in only],
        [name for name in STAGES if name in only],
    )
    if len(protocol.log.items) > LARGE and (slow := [name for name in names if name in SLOW]):
        log.warning("too slow for so many items, left out: %s", ", ".join(slow))
        names = [name for name in names if name not in slow]
    parts: list[dict[str, Judged]] = []
    sizes: list[int] = []
    for place, cut in enumerate(protocol.cuts, 1):
        bench = Bench(protocol, cut)
        if not len(bench.test.users):
            raise BenchmarkError("no user has something to learn from and something to judge by")
        log.info(
            "part %d of %d: %d interactions known, %d users judged",
            *(place, len(protocol.cuts), cut.train.sum(), len(bench.test.users)),
        )
        by_name = bench.feed(stages) if stages else {}
        for name in names:
            try:
                by_name[name] = bench.bare(name)
            except ValueError as error:
                log.warning("%s is left out: %s", name, error)
        parts.append(by_name)
        sizes.append(len(bench.test.users))
    # What one part could not train cannot be judged by the users of all.
    judged = {
        name: Judged.together([part[name] for part in parts], sizes)
        for name in parts[0]
        if all(name in part for part in parts)
    }
    if not judged:
        raise BenchmarkError("nothing could be trained: see above")
    print(table(judged, protocol.k), file=sys.stderr)
    return rows_of(judged, protocol.k)


def rows_of(judged: dict[str, Judged], k: int) -> list[Row]:
    rows, single = list[Row](), best_single(judged)
    for name, lists in judged.items():
        beside = () if name != "feed" or single is None else _beside(single, judged)
        rows += [
            Row(f"{name} ndcg@{k}", float(lists.ndcg.mean()), "nDCG", *beside),
            Row(f"{name} recall@{k}", float(lists.recall.mean()), "recall"),
            Row(f"{name} seconds to train", lists.seconds, "s"),
        ]
    if single:
        best = judged[single]
        rows.append(Row(f"best single ndcg@{k}", float(best.ndcg.mean()), "nDCG"))
        rows.append(Row(f"best single recall@{k}", float(best.recall.mean()), "recall"))
    if single and "feed" in judged:
        p = list_quality.paired(judged["feed"].ndcg, best.ndcg[judged["feed"].users]).p
        rows.append(Row("p feed over best single", p, "p"))
    users = max(len(lists.users) for lists in judged.values())
    rows.append(Row("users judged", float(users), "users"))
    if "feed" in judged:
        rows.append(Row("users judged, feed", float(len(judged["feed"].users)), "users"))
    return rows


def _beside(single: str, judged: dict[str, Judged]) -> tuple[str, float]:
    """The best recommender alone, by the users who get a feed."""
    return f"{single}, same users", float(judged[single].ndcg[judged["feed"].users].mean())


def best_single(judged: dict[str, Judged]) -> str | None:
    """Of the bare recommenders the best by nDCG."""
    singles = [name for name in judged if name not in STAGES]
    return max(singles, key=lambda name: judged[name].ndcg.mean(), default=None)


def table(judged: dict[str, Judged], k: int) -> str:
    """For people, in Markdown, the best first."""
    lines = [
        f"| | nDCG@{k} | 95 % | recall@{k} | users | seconds to train |",
        "|---|---|---|---|---|---|",
    ]
    for name, lists in sorted(judged.items(), key=lambda item: -item[1].ndcg.mean()):
        interval = list_quality.bootstrap(lists.ndcg)
        lines.append(
            f"| {name} | {interval.mean:.4f} | {interval.low:.4f} to {interval.high:.4f} | "
            f"{lists.recall.mean():.4f} | {len(lists.users)} | {lists.seconds:.1f} |"
        )
    single = best_single(judged)
    if single and "feed" in judged:
        feed = judged["feed"]
        paired = list_quality.paired(feed.ndcg, judged[single].ndcg[feed.users])
        gap = paired.difference
        lines.append(
            f"\nfeed less {single}, same users: {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}], "
            f"p = {paired.p:.2g} (paired t-test), {paired.p_signed_rank:.2g} (signed rank)"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--path", type=Path, help="folder of the data set, or file of sequences")
    rows = [*STAGES, *BARE]
    parser.add_argument("--only", nargs="+", choices=rows, default=rows, help="rows, default all")
    given = parser.parse_args(arguments)

    def measured() -> list[Row]:
        try:
            protocol = DATA[given.data](given.path)
        except (LoadError, OSError) as error:
            raise BenchmarkError(f"--path {given.path}: {error}") from error
        return measure(protocol, given.only)

    return report.run("quality", measured)


if __name__ == "__main__":
    sys.exit(main())
