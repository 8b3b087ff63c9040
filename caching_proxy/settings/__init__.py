"""Settings: one row a variable, parsed once at start into one immutable value.

Belongs here: the table, the parsers, checks of settings against each other, ``.env``, the documents made of the table.
Does not belong here: what a value does once it is parsed.
May import: ``http`` and ``rules``, and ``auth`` and ``transport`` for the parsers of keys and certificates.
"""
