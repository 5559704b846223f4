"""An installation on this machine: its processes, started, watched and stopped. The commands
import it; it needs ``dagster``."""
