"""The command line: `bedplate COMMAND …`. Data goes to stdout, progress and messages to stderr; exit 0, 1 or 2.

Modules here import typer and the standard library only, so that `--help` answers at once; the rest is imported inside
the commands.
"""

from __future__ import annotations

import sys

from bedplate.cli.output import run

__all__ = ["main"]


def main() -> None:
    """The `bedplate` program."""
    from bedplate.cli.app import app

    sys.exit(run(app))
