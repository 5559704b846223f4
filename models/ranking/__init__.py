"""The feed's ranker, the second stage that is served: features, lessons, training, evaluation."""
