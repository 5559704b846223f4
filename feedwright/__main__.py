"""``python -m feedwright`` is the command ``feedwright``."""

from feedwright.cli.app import run

run()
