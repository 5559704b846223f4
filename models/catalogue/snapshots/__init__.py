"""The snapshot: the columns of items and users that one model version serves from, and its index.

``catalogue.building`` writes it and the live catalogue reads it. It needs ``tables``.
"""
