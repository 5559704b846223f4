"""The learned second stage: its training set, its features, its models, its probabilities.

The feed orders its first items by it. It needs ``feed``'s sources and rules to make the
training set, and LightGBM.
"""
