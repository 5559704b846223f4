"""The processes of an installation: services started, watched, restarted and stopped.

``local`` and the commands import it; it needs ``dagster`` and ``serving.launch``.
"""
