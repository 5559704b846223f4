"""Which model version is live: asked of MLflow, fetched, loaded, swapped in, and doubted. ``feed``
and the routes import it; it needs ``state``."""
