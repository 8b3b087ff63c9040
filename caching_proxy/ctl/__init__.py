"""``cachingproxyctl``: talks to a running proxy over its admin endpoints, for people at a terminal and for scripts.

What belongs here: commands, what they print, the client of the endpoints. What must not: anything that decides about
caching; the proxy is asked. Nothing here runs in the daemon. May import ``settings`` and parsers of files that the
daemon reads too.
"""
