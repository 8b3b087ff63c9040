"""Starting, stopping and wiring: ``twistd``'s side of the program.

Belongs here: the plug-in's options and service, the composition root, the choice of the event loop, reading the rules
file, ties between metrics and the parts that they measure. The only package that uses the global reactor.
Does not belong here: any decision about a request.
May import: everything. Nothing imports it.
"""
