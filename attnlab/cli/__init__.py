"""The command line: parse, call, show, exit. Nothing else uses typer."""
