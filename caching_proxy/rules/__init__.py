"""Pure decisions: every answer to "may we?" and "which one?" (RFC 9111 and the project's own rules).

Belongs here: functions and values without Twisted, without a clock and without I/O; the moment is an argument, in POSIX
seconds. Each decision returns its reason. Rule numbers refer to ``docs/http-caching.md``.
Does not belong here: the order in which a request passes through them (that is ``cache/pipeline``).
May import: ``http``.
"""
