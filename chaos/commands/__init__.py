"""One module for each ``blackstart`` command; each offers ``app``, a Typer application (see :mod:`chaos.cli`)."""
