"""Features in, scores out: trees with a line beside them, or logistic regression.

``learned`` serves them, ``training`` trains them. They need ``features`` and LightGBM.
"""
