"""Files as people have them -> frames of text, chunk by chunk: found, opened, taken apart.

``storage.loading`` enters by ``rows``, ``files`` and ``forms``; it needs Polars alone.
"""
