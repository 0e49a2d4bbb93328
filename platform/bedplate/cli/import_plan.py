"""How `bedplate import --dry-run` shows its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from bedplate.cli.output import Format, show
from bedplate.plan_lines import plan_lines

__all__ = ["show_import_plan"]


def show_import_plan(plan: Mapping[str, Any], format: Format) -> None:
    """The plan, for people or as JSON. Exits with 1 where the import would be refused."""
    if format is Format.json:
        show(dict(plan), format)
    else:
        show(plan_lines(plan), format)
        print()
        files = [
            {**file, "bytes": file["size_bytes"], "here": "yes" if file["here"] else "-"} for file in plan["files"]
        ]
        show(files, format, columns=("path", "bytes", "here"))
    if plan["problem"] is not None:
        raise typer.Exit(1)
