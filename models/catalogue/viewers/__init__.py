"""Who asks: what is known of them, what they are interested in, and what a request made for them.

The live catalogue makes viewers, the feed reads them. It needs arrays alone.
"""
