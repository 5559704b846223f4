"""The command line of Feedwright, and the supervisor of its processes."""
