"""Tokens: from ``Authorization`` to an identity. Any doubt is an identity without a role.

Belongs here: JWT, keys, key sets, the memory of verified tokens.
Does not belong here: what an identity may see (``rules.role``, ``rules.key``).
May import: ``http``, ``rules``, ``interfaces``.
"""
