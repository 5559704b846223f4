"""A proposal of the mapping for files as they are: looked at, guessed, written with comments."""
