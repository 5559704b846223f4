"""What is done to a ranked list: diversity, and positions for items to explore.

The pipeline calls it. It needs scores and columns of items, and nothing else of the feed.
"""
