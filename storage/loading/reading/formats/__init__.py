"""A reader a format: each makes chunks of a file whose form is known. ``rows`` imports them; they
need ``forms`` and ``streams``."""
