"""The syntax of HTTP (RFC 9110, 9112, and the fields of RFC 9111 and 9213), as values on bytes.

Belongs here: messages, fields, framing, the chunked coding, bodies on their way, dates, directives, what ends at one
hop, how a request is written anew for the backend.
Does not belong here: a cache. Nothing here knows what is stored, for whom, or for how long.
May import: nothing of this project.
"""
