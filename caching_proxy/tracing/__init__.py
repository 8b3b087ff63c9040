"""OpenTelemetry: spans of requests, and the trace context that goes on to the backend.

Belongs here: wrappers around the seams that tell of a request (pipeline, store, upstream, hot path, recorder), and the
one module that knows OpenTelemetry's SDK (``tracer``). All of it is only imported where tracing is on.
Does not belong here: any decision about a request; what is wrapped behaves as it did.
May import: ``http``, ``rules``, ``interfaces``, ``cache``, ``server``, ``telemetry``, ``web``.
"""
