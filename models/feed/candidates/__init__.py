"""Which items are ranked: sources that name them, rules that refuse some, lists of the minute.

The pipeline asks it. It needs ``scoring``, and ``exploration`` for what is new.
"""
