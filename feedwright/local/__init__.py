"""An installation on this machine, from the first check to the last goodbye: ``up``, ``down``,
status, loading and training. The commands import it; it needs ``processes``."""
