"""Several recommenders as one: each a score table, weighed by what users liked besides."""
