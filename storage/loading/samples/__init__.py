"""Data to start with: MovieLens, which is real, and three that are synthetic: a marketplace,
a social network, and events."""
