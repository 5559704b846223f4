"""The second stage: rankers over what several recommenders say of a (user, item)."""
