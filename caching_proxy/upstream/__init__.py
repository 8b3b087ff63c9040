"""The backend's side of the wire: a pool of keep-alive connections, one exchange at a time on each.

Belongs here: connecting, request and response on a connection, retries, tunnels, the share of each client.
Does not belong here: what an answer means for the cache.
May import: ``http``, ``interfaces``, ``transport``.
"""
