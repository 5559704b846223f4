"""Recommenders: everything that scores (user, item), behind one protocol."""
