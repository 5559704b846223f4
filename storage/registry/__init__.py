"""MLflow: model versions and their aliases, runs, and the model as MLflow's own flavour.

Orchestration, ``going_live`` and the command line call it; serving reads the registry over REST.
"""
