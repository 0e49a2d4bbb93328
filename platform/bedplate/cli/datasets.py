"""`bedplate datasets …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, show

__all__ = ["app"]

app = typer.Typer(name="datasets", help="Data kept beside the models.", no_args_is_help=True)
COLUMNS = ("ref", "rows", "format", "size_bytes", "filename", "created")
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


@app.command()
def add(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV, JSONL, JSON or Parquet.")],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Register a file; the same bytes again make no new version."""
    show(connect(home, url).datasets.add(name, file).data, format)


@app.command("list")
def list_(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """The newest version of each dataset."""
    items = [dataset.data for dataset in connect(home, url).datasets.list()]
    show(items, format, columns=COLUMNS)


@app.command("show")
def show_(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """One dataset."""
    show(connect(home, url).datasets.get(name).data, format)


@app.command()
def preview(
    name: NameArgument,
    limit: Annotated[int, typer.Option(help="Rows to show.")] = 10,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Its first rows."""
    rows = connect(home, url).datasets.preview(name, limit)
    show(rows, format, columns=tuple(rows[0]) if rows else ())
