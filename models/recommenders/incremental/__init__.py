"""Tables that are kept up to date between trainings, by the histories of the users who did
something: ``state.py``."""
