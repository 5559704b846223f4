"""The log of interactions: matrices, splits, counts, popularity, and what was undone.

Anybody may enter. It needs ids and the types of the profile.
"""
