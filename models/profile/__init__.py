"""The profile: every setting of a feed, its type, its default and its limits.

Anybody may import it; it needs pydantic and knows no other room but settings of recommenders
and rankers. ``shipped`` holds the profiles that come with the product.
"""
