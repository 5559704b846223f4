"""Stands before the consoles: lets in programs and the consoles' own pages, and no other page."""
