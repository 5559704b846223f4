"""Interactions on their way: the table, the lake of Parquet days, and what is kept of refused ones.

Ingest, the followers and the pipeline enter. It needs ``postgres``.
"""
