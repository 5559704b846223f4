"""The feed of ``GET /feed``: from request to page. Routes import it; it needs ``versions``,
``state`` and the pipeline of ``models``."""
