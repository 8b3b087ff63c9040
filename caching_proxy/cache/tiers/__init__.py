"""The tiers: hot and burst memory, and reading from and writing to the store behind them.

Belongs here: bounds in entries and bytes, TTLs, eviction, what a lookup of several variants needs.
Does not belong here: whether an entry may answer (``rules.reuse``).
May import: what ``cache`` may.
"""
