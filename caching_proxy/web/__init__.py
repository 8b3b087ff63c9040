"""The ``twisted.web`` resource tree: root, proxy, and the hot path that answers before a resource is made.

Belongs here: from a request on the wire to the pipeline, and from its response to the wire; tunnels; who is believed.
Does not belong here: rules.
May import: ``http``, ``rules``, ``interfaces``, ``cache``, ``server``, ``telemetry``.
"""
