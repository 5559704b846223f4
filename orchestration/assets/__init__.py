"""Assets by domain, in the order in which data flows."""
