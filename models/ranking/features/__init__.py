"""What a ranker sees of a (viewer, item), as a table of named columns.

Training and serving both enter. It needs the feed's scores and sources.
"""
