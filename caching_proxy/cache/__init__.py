"""Coordination: a request through tiers, store and backend.

Belongs here: the pipeline, which alone knows the order of the steps; what is going on for a key; invalidation; the
answers. The clock is handed in.
Does not belong here: sockets, and decisions that need no state (those are ``rules``).
May import: ``http``, ``rules``, ``interfaces``. It sees stores, upstream and tokens only through ``interfaces``.
"""
