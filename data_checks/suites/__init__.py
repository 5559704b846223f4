"""The suites: one file for each table or frame."""
