"""What can be asked of the project on the command line, a module each.

A module has ``DESCRIPTION``, ``add_arguments(parser)`` and ``run(arguments)``, which returns the
exit status. It is imported only when its command is called.
"""
