"""``cachingproxyctl``: talks to a running proxy over its admin endpoints, for people at a terminal and for scripts.

Belongs here: commands, what they print, the client of the endpoints.
Does not belong here: anything that decides about caching; the proxy is asked. Nothing here runs in the daemon.
May import: ``settings``, and of ``rules`` the parsers of files that the daemon reads too.
"""
