"""What the proxy says about itself: logs, access lines, metrics.

Belongs here: formats, redaction, bounded buffers, the thread and files of logs, the table of series.
Does not belong here: what is measured; parts count by themselves, ``app`` ties the two together.
May import: ``http``, ``rules``, ``interfaces``, ``settings``.
"""
