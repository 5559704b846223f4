"""Data to start with: MovieLens, which is real, and a marketplace, which is synthetic."""
