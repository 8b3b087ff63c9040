"""The dashboard below ``/_cache/``: one page, its scripts and its style, as files without a build step.

Belongs here: the files, and who serves them.
Does not belong here: data; the page asks the guarded endpoints for it.
May import: what ``web`` may.
"""
