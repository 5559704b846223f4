"""How a ranker is trained: the past made again, folds, the training set, and the fit.

The evaluation and orchestration enter. It needs the feed pipeline and a recommender.
"""
