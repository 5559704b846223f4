"""Two stages over plain datasets, for tables of public data: nothing of this is served."""
