"""What is made ready of the live version: lists, counts, trends. It needs ``data`` and
``training``."""
