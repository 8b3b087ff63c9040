"""Settings: one row a variable, parsed once at start into one immutable value.

Belongs here: the table, the parsers, checks of settings against each other, ``.env``, the documents made of the table.
Does not belong here: what a value does once it is parsed.
May import: ``http`` and ``rules``, and of ``auth``, ``store``, ``transport`` and ``upstream`` what parses keys,
certificates and URLs: a value is judged by the room that uses it, once.
"""
