"""Redis: connections, the pool, commands, scripts that run in the server, and the layout of what is stored there.

Belongs here: everything that knows a Redis command.
Does not belong here: the breaker (``store.circuit_breaker``), which serves any store.
May import: what ``store`` may.
"""
