"""Native transports of the event loop under Twisted's interfaces, and connections made with them.

Belongs here: what makes uvloop's transports usable for Twisted protocols.
Does not belong here: HTTP.
May import: nothing of this project.
"""
