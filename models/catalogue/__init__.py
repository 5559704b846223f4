"""What is known of users and items: the snapshot of a version, the live catalogue over it,
and the viewer who asks.

The feed ranks from it; it knows no feed. It needs ``data`` and ``profile``.
"""
