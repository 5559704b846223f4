"""The command ``feedwright``: a module a group of commands, and what they print. It needs
``local`` and ``dagster``."""
