"""`bedplate models gc`"""

from __future__ import annotations

from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, say, show

__all__ = ["gc"]


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and take nothing away.")] = False,
    grace_hours: Annotated[float, typer.Option(min=0, help="What was stored or used since then stays.")] = 24.0,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Take away the files that no model, dataset or job needs any more."""
    found = connect(home, url).models.gc(dry_run=dry_run, grace_hours=grace_hours)
    show(found if format is Format.json else found["items"], format, columns=("kind", "name", "size_bytes"))
    verb = "would be taken away" if dry_run else "taken away"
    say(f"{found['count']} things {verb}, {found['size_bytes'] / 1e6:,.1f} MB.")
