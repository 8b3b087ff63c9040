"""The comparison with nginx and Varnish: ``python -m bench`` (or ``make bench``).

Every figure is a ratio of measurements taken in one run on one machine; absolute numbers of two machines, or of two
runs, say little about each other. What is measured, and what must come out, stands in ``scenarios``.
"""
