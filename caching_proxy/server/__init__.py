"""The client's side of the wire: bytes from a client's connection to a request, and answers back to bytes.

Belongs here: connections, heads, request bodies, sending under back-pressure, limits and deadlines.
Does not belong here: the cache. The hot path is handed in as a function.
May import: ``http``, ``rules`` (which lines of a head count), ``interfaces``, ``transport``.
"""
