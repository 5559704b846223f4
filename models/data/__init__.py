"""What every model is made from: ids, matrices, features, splits, popularity, similarities.

Anybody may import it. It needs NumPy, SciPy and Polars, and no other room of ``models``
but the profile's settings.
"""
