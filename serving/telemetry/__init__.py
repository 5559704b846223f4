"""What operators see of the service: logs, metrics, traces, what was served. It needs ``http`` and
``postgres``."""
