"""The shared store: the embedded one, and Redis, KeyDB or Valkey behind a circuit breaker.

Belongs here: ``IStore`` and what it needs; ``CACHE_URL``.
Does not belong here: what the stored bytes mean, beyond their keys.
May import: ``http``, ``rules``, ``interfaces``, ``transport``.
"""
