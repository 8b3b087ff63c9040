"""What one client connection may cost: bounds in bytes, counts and seconds, all settable, none infinite by accident."""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """Bounds of the server side. Deadlines are checked about once a second, so they may fire up to a second late.

    Deadlines are absolute: a byte now and then does not move them.

    - ``head_seconds``: from the first byte of a head (or from accepting the connection) to its end;
    - ``idle_seconds``: between an answer and the first byte of the next request;
    - ``body_seconds`` and ``body_rate``: a request body must have arrived after ``body_seconds`` plus one second for
      every ``body_rate`` bytes received so far, so a long upload that makes progress goes on. Time in which this side
      made the client wait does not count;
    - ``write_seconds``: how long a client may take nothing at all of what waits for it; however slowly it reads, it
      gets all of its answer;
    - ``linger_seconds``: how long bytes are read and thrown away after an answer that ends the connection early, so
      that the client can read that answer.
    """

    head_bytes: int = 32 * 1024
    """Request line and fields together; 431 beyond."""
    field_count: int = 128
    """Field lines of a request; 431 beyond."""
    target_bytes: int = 16 * 1024
    """Request target; 414 beyond."""
    body_bytes: int | None = None
    """Content of a request; 413 beyond. None = any size."""
    buffer_bytes: int = 0
    """Content of a request that is read before the request is processed, all of it if it is no longer."""
    pipeline_depth: int = 32
    """Complete heads that may wait behind a request before reading stops (32 KiB of waiting bytes stop it as well)."""
    drain_bytes: int = 64 * 1024
    """Unread rest of a request body that is read over to keep the connection; beyond that it is closed."""
    head_seconds: float = 30.0
    idle_seconds: float = 75.0
    body_seconds: float = 60.0
    body_rate: int = 500
    write_seconds: float = 60.0
    linger_seconds: float = 2.0


DEFAULT_LIMITS = Limits()
