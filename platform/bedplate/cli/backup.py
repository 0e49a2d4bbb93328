"""`bedplate backup DIR` and `bedplate restore DIR`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, say, show, size_text

__all__ = ["backup", "restore"]

TOLD_SECONDS = 5.0


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, on another disk.")],
    base: Annotated[Path | None, typer.Option(help="An earlier backup to share unchanged files with.")] = None,
    home: HomeOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Copy all that a home holds into a folder, while its server works."""
    from bedplate.backup import make_backup
    from bedplate.home import Home
    from bedplate.settings import Settings

    settings = Settings.from_environment()
    place = Home((home or settings.home).absolute())
    made = make_backup(settings, place, folder.absolute(), base=base and base.absolute(), progress=_Told("bytes").tell)
    if format is Format.json:
        show({"folder": str(folder), **asdict(made)}, format)
    else:
        say(f"Backed up {place.path}: {made.files} files, {size_text(made.size_bytes)}, in {folder}.")
    for digest in made.damaged:
        say(f"Left out, since its bytes are not what they were: {digest}. Import the model again.")
    raise typer.Exit(1 if made.damaged else 0)


def restore(
    folder: Annotated[Path, typer.Argument(help="What `bedplate backup` made.")],
    home: HomeOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Make a home from a backup; every byte is checked. The home has to be new or empty."""
    from bedplate.home import Home
    from bedplate.restore import restore_backup
    from bedplate.settings import Settings

    settings = Settings.from_environment()
    place = Home((home or settings.home).absolute())
    restored = restore_backup(settings, folder.absolute(), place, progress=_Told("files").tell)
    if format is Format.json:
        show({"home": str(place.path), **asdict(restored)}, format)
    else:
        say(
            f"Restored {restored.backup.files} files to {place.path}. Start it with: bedplate serve --home {place.path}"
        )
    if restored.audit_problem is not None:
        say(f"Its audit log is not whole: {restored.audit_problem}")
        raise typer.Exit(1)


class _Told:
    """A line now and then on how far it is."""

    def __init__(self, what: str) -> None:
        self._what, self._last = what, time.monotonic()

    def tell(self, done: int, total: int) -> None:
        if time.monotonic() - self._last > TOLD_SECONDS:
            self._last = time.monotonic()
            shown = (size_text(done), size_text(total)) if self._what == "bytes" else (done, total)
            say(f"{shown[0]} of {shown[1]}{'' if self._what == 'bytes' else ' files'}")
