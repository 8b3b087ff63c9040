"""HTTP/2 connections (RFC 9113): their streams become the very requests that an HTTP/1.1 connection makes.

Belongs here: frames, their bounds, streams, and heads in both spellings. The state machine is that of ``h2``.
Does not belong here: what a request is, and how it is answered.
May import: what ``server`` may.
"""
