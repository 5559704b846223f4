"""From files as they were exported to rows of the log.

The command line enters by ``load`` and ``proposal``. It needs Polars, and ``events`` and
``catalogue`` to write.
"""
