"""Asking the backend for a key: the request, what its answer means for the cache, and the body on its way.

Belongs here: fetch, revalidation, parts that become a whole, the tee into the cache.
Does not belong here: connections (those are ``upstream``).
May import: what ``cache`` may.
"""
