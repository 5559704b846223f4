"""Benchmarks: each is a command that prints one JSON document, and logs on standard error.

    python -m benchmarks.feed          latency and throughput of the feed over HTTP
    python -m benchmarks.candidates    nearest items by the index, beside exact search
    python -m benchmarks.train         time and memory of every stage of training
    python -m benchmarks.zoo           recommenders: training time and memory beside the bare call
    python -m benchmarks.quality       every recommender on published protocols
    python -m benchmarks.quality_by_time  the same for what comes next, on a MovieLens of yours
    python -m benchmarks.freshness     fold-in of new users, and the loss a day of a model's age
    python -m benchmarks.going_live    a good challenger wins, a bad version goes, by themselves
    python -m benchmarks.guardrails    false alarms and time to catch a drop, simulated
    python -m benchmarks.clone_to_feed time from ``git clone`` to a first personalised feed

All take ``--users --items --interactions --seconds`` (what a benchmark has no use for is
ignored) and some have options of their own: see ``--help``. The data is synthetic, of
any size, with Zipf popularity, clusters of taste that drift, and places; it is kept for a day
below the system's folder for temporary files, so a second run starts at once.

The document is ``{"name", "machine", "rows"}``. A row is ``{"name", "value", "unit",
"baseline", "baseline_value", "ratio"}``, where ``ratio = value / baseline_value``. Trust the
ratio more than the value: both sides of it were measured in the same run, so a slow or busy
machine slows both.

feed
    The real Bento, one and two workers, asked by 1 and by 32 keep-alive clients, beside the
    same kind of server that returns one stored answer of the same bytes. ``ranked anew`` ranks
    every request, as for a user's first page; ``as visited`` is what a product sends: users come
    again and scroll, by Zipf's law, and feeds are read again as the profile has it. Feed and
    constant take turns, three rounds each; medians are reported. The clients are non-blocking
    sockets in one process with requests encoded beforehand; its share of a core is in the rows,
    and a share near 1 would mean that the generator is what was measured. Every answer is checked
    for status 200 and a model version; a row counts those without one. Memory is what a worker
    holds for itself, and what the workers map together. ``stage:`` rows time the parts of one
    request in this process, and their ratio is the share of the whole.

candidates
    The items that score highest for a user, found by the index and by a product with all of them:
    latency, recall, time to build, and bytes, at several sizes of catalogue.

train
    Each stage in one child process, as in the pipeline: wall and CPU time (the CPU time tells less
    of what else the machine does), and the peak of its resident
    memory as the parent sees it. Quality rows are nDCG@10 after a split by time, with popularity
    as the baseline; similarities have scikit-learn's brute force as theirs.
    ``--pipeline`` adds the real daily Dagster job on a database of its own.

guardrails
    Worlds of users who differ and come back, ``--worlds`` of each kind, looked at every hour for a
    week: the share of them in which each rule ever sees a breach, and after how many hours and
    impressions of the arm half and nine tenths of the worlds have. No server, no database: the
    rules of models/experiments/guardrails.py on simulated counts, the same in every run.

going_live
    Everything that ``up`` starts, and users who click by known preferences over HTTP: a challenger
    that is better is tried, wins and goes live; a version with inverted scores is forced live and
    goes. Rows are seconds and impressions until then, and what users saw meanwhile.

quality
    Each row trained, scored and judged in the same run: docs/quality.md.

quality_by_time
    The same for protocols that keep to each user's time.

freshness
    Versions as the service has them, asked for users who came after the training and after days of
    age: docs/freshness.md.

zoo
    Each recommender in a process of its own, beside the bare call of its library on the same
    matrix.

clone_to_feed
    Clones the last commit, makes the environment, starts everything, and waits for a personalised
    feed; then stops, starts again, stops, and looks for anything left running. The
    baseline is the target of five minutes. Packages come from the caches that the machine has.
"""

import signal

if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    # As Ctrl-C: what a benchmark has started is stopped where it ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
