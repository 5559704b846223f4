"""What an item scores for a viewer: the components, what weighs them, and the words for them.

The pipeline, the sources and the features of the ranker enter. It needs ``models.catalogue``.
"""
