"""Benchmarks: each is a command that prints one JSON document, and logs on standard error.

    python -m benchmarks.feed            latency and throughput of the feed over HTTP
    python -m benchmarks.candidates      nearest items by the index, beside exact search
    python -m benchmarks.ingest          events taken in over HTTP, beside COPY
    python -m benchmarks.loading         rows a second of a load, beside COPY
    python -m benchmarks.train           time and memory of every stage of training
    python -m benchmarks.zoo             recommenders beside the bare call of their library
    python -m benchmarks.quality         the feed beside every recommender, on public data
    python -m benchmarks.search          settings of the recommenders, on validation data
    python -m benchmarks.freshness       fold-in of new users, and the loss a day of a model's age
    python -m benchmarks.going_live      a good challenger wins, a bad version goes, by themselves
    python -m benchmarks.guardrails      false alarms and time to catch a drop, simulated
    python -m benchmarks.faults          everything that breaks, broken on purpose under load
    python -m benchmarks.fuzz            inputs of every kind over every route
    python -m benchmarks.clone_to_feed   time from ``git clone`` to a first personalised feed

``common`` holds what they share, ``parts`` what one of them alone needs. A file here is a command.

All but ``quality`` and ``search`` take ``--users --items --interactions --seconds`` (what a
benchmark has no use for is ignored) and some have options of their own: see ``--help``. Their data
is synthetic, of any size, with Zipf popularity, clusters of taste that drift, and places; it is
kept for a day below the system's folder for temporary files, so a second run starts at once.

The document is ``{"name", "machine", "rows"}``. A row is ``{"name", "value", "unit",
"baseline", "baseline_value", "ratio"}``, where ``ratio = value / baseline_value``. Trust the
ratio more than the value: both sides of it were measured in the same run, so a slow or busy
machine slows both.
"""

import signal

if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    # As Ctrl-C: what a benchmark has started is stopped where it ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
