"""Several processes behind one port: the supervisor, what it and its workers say to each other, and their sockets.

Belongs here: when a worker is started again, what its death costs nobody, frames and calls on the control channel,
sockets that are shared.
Does not belong here: what a worker serves; ``app`` composes that and hands in what to call.
May import: ``http``, ``rules``, ``interfaces``, ``server`` (to bind and to adopt sockets), ``telemetry`` (to sum).
"""
