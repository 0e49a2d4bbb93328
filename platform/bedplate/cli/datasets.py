"""`bedplate datasets …`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bedplate.cli.datasets_check import check
from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, WrongUse, connect, say, show
from bedplate_registry.errors import BedplateError
from bedplate_registry.names import Ref

__all__ = ["app"]

app = typer.Typer(name="datasets", help="Data kept beside the models.", no_args_is_help=True)
COLUMNS = ("ref", "rows", "images", "format", "size_bytes", "filename", "state", "created")
SCHEMA = ("column", "type", "looks_like", "missing", "empty", "distinct", "characters")
CELL = 60  # characters of a cell in a table
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="name or org/name, perhaps with a version: name:2.")]
VersionArgument = Annotated[str, typer.Argument(metavar="NAME:VERSION")]
WhyOption = Annotated[str, typer.Option(help="The reason, which is kept.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name or org/name.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, TSV, JSONL, JSON or Parquet; or a folder of images.")
    ],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Register a file, or a folder of images, as the next version; the same bytes again make no new one."""
    _show_dataset(connect(home, url).datasets.add(name, file).data, format)


@app.command("list")
def list_(
    all: Annotated[bool, typer.Option("--all", help="Every version, archived ones too.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="The archived versions instead.")] = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The newest version of each dataset."""
    if all and archived:
        raise WrongUse("--all shows the archived versions too.", hint="Give one of --all and --archived.")
    items = [dataset.data for dataset in connect(home, url).datasets.list(all=all, archived=archived)]
    show(items, format, columns=COLUMNS)


@app.command()
def versions(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """All versions of one dataset, archived ones too."""
    items = [dataset.data for dataset in connect(home, url).datasets.versions(name)]
    show(items, format, columns=COLUMNS)


@app.command("show")
def show_(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """One dataset, and what its columns hold."""
    _show_dataset(connect(home, url).datasets.get(name).data, format)


@app.command()
def preview(
    name: NameArgument,
    limit: Annotated[int, typer.Option(help="Rows to show.")] = 10,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Its first rows. In a table long cells are cut; JSON has all."""
    if limit < 1:
        raise WrongUse(f"--limit {limit} shows no row.", hint="Give at least 1.")
    rows = [*connect(home, url).datasets.preview(name, limit)]
    if format is Format.json:
        show(rows, format)
    else:
        columns = tuple(dict.fromkeys(column for row in rows for column in row))
        show([{column: _cut(value) for column, value in row.items()} for row in rows], format, columns=columns)


@app.command()
def files(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """The images of a dataset with their sizes and digests."""
    show([*connect(home, url).datasets.get(name).files()], format, columns=("path", "size_bytes", "sha256"))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="name:2; all versions where none.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Read every file and compare it with its digest, archived versions too. The code is 1 where anything is wrong."""
    datasets = connect(home, url).datasets
    found = [*datasets.verify(name)]
    if format is Format.json:
        show(found[0] if name else found, format)
    for each in found:
        say(f"{each['dataset']}: {' '.join(each['problems']) or 'every file agrees with its digest.'}")
    if bad := sum(bool(each["problems"]) for each in found):
        hint = "Add the same file or folder again to bring back what is damaged."
        raise BedplateError(f"{bad} of {len(found)} versions are damaged.", hint=hint)


@app.command()
def archive(
    ref: VersionArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Leave a version out of lists, and out of what its name alone means; by its number it is used as before."""
    datasets = connect(home, url).datasets
    _show_dataset(datasets.archive(_one_version(ref), why=why).data, format)


@app.command()
def restore(
    ref: VersionArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Take an archived version up again."""
    datasets = connect(home, url).datasets
    _show_dataset(datasets.restore(_one_version(ref), why=why).data, format)


@app.command()
def delete(
    ref: VersionArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Delete a version for good, which no open job and no gate names. Its number is never given again."""
    connect(home, url).datasets.delete(_one_version(ref), why=why)
    if format is Format.json:
        show({"dataset": ref, "deleted": True}, format)
    else:
        say(f"{ref} is deleted.")


app.command()(check)


def _one_version(ref: str) -> str:
    if Ref.parse(ref).version is None:
        raise WrongUse(f"{ref!r} does not say which version.", hint="Name it by its number, as in name:3.")
    return ref


def _show_dataset(data: dict[str, Any], format: Format) -> None:
    if format is Format.json:
        show(data, format)
        return
    left_out = ("schema", "columns", *(() if data["images"] else ("images", "images_bytes")))
    show({key: value for key, value in data.items() if key not in left_out}, format)
    print()
    show([_column(each) for each in data["schema"]], format, columns=SCHEMA)


def _column(facts: dict[str, Any]) -> dict[str, Any]:
    """One line of what is known of a column."""
    lengths = [facts[key] for key in ("min_characters", "mean_characters", "max_characters")]
    return {
        **facts,
        "column": _cut(facts["name"]),
        "distinct": f"{facts['distinct']:,}{'+' if facts['is_more'] else ''}",
        "characters": None if lengths[0] is None else "{}, {:g} on average, {}".format(*lengths),
    }


def _cut(value: Any) -> Any:
    """A cell that fits into a line."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    if not isinstance(text, str):
        return text
    line = " ".join(text[: 4 * CELL].split())
    return line if len(line) <= CELL and len(text) <= 4 * CELL else f"{line[: CELL - 1]}…"
