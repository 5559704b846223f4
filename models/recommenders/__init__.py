"""Recommenders: everything that scores (user, item), behind one protocol (``base``).

The evaluation and the training call them through ``zoo``. They need ``data``; a family is a
folder.
"""
