"""Numbers of lists: accuracy, coverage, novelty, serendipity, exposure, by groups of users.

Whoever judges lists enters. It needs ``recommenders.judging`` and no other room of the evaluation.
"""
