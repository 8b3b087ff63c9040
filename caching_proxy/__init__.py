"""A caching reverse proxy daemon on Twisted.

Each package below opens with what belongs in it, what must not, and what it may import; ``tests/test_layers.py`` holds
them to it. The order, from the bottom: ``http``, ``rules``, ``interfaces``; ``cache``, ``store``, ``auth``, ``server``,
``upstream`` side by side; ``web``; ``app``.
"""
