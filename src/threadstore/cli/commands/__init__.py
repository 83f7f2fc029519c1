"""One module per command: ``configure(parser)`` and ``run(context, args)``; imported when used."""
