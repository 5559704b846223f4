"""Stands before the consoles: lets in programs and the consoles' own pages, and no other page.

Anybody above ``storage`` may import it; ``dagster_client`` asks Dagster.
"""
