"""Export, erasure and retention of what is known of one user.

The API, the pipeline and the command line enter. It needs ``events`` and ``catalogue``.
"""
