"""``python -m feedwright`` is the command ``feedwright``."""

from feedwright.cli import run

run()
