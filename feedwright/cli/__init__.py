"""The command ``feedwright``: a module a group of commands. It needs ``local`` and
``processes``."""
