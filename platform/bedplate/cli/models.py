"""`bedplate models …`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, say, show
from bedplate_registry.errors import BedplateError

__all__ = ["app", "show_model"]

app = typer.Typer(name="models", help="What is in the registry.", no_args_is_help=True)
RefArgument = Annotated[str, typer.Argument(metavar="REF", help="org/name, org/name:3 or org/name@alias.")]
SHOWN = ("ref", "task", "architecture", "parameters", "dtype", "size_bytes", "license", "context_length")


@app.command("list")
def list_(
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    license: Annotated[str | None, typer.Option(help="Only this license.")] = None,
    finetunable_for: Annotated[str | None, typer.Option(help="Only what can be fine-tuned for this task.")] = None,
    query: Annotated[str | None, typer.Option(help="Part of the name.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The newest version of each model."""
    filters = {"task": task, "license": license, "finetunable_for": finetunable_for, "query": query}
    found = [model.data for model in connect(home, url).models.list(**filters)]
    rows = [{**row, "task": row["task"] or "(base)"} for row in found] if format is Format.table else found
    show(rows, format, columns=("ref", "task", "parameters", "license", "created"))


@app.command("show")
def show_(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """The facts of one version."""
    show_model(connect(home, url).models.get(ref).data, format)


@app.command()
def card(ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """The model card, as Markdown."""
    model = connect(home, url).models.get(ref)
    if format is Format.json:
        show({"model": model.ref, "card": model.card()}, format)
    else:
        print(model.card())


@app.command()
def files(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Its files with their digests."""
    show(connect(home, url).models.get(ref).files(), format, columns=("path", "size_bytes", "sha256"))


@app.command()
def lineage(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.json
) -> None:
    """Where it comes from: base, data, settings, metrics, packages. JSON, whatever --format says."""
    show(connect(home, url).models.get(ref).lineage(), Format.json)


@app.command()
def verify(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Read every file and compare it with its digest."""
    model = connect(home, url).models.get(ref)
    if problems := model.verify():
        raise BedplateError(f"{model.ref}: {'; '.join(problems)}", hint="Import it again to repair it.")
    say(f"{model.ref}: every file agrees with its digest.")
    if format is Format.json:
        show({"model": model.ref, "problems": problems}, format)


@app.command()
def alias(
    ref: RefArgument,
    name: Annotated[str, typer.Argument(help="production, for one.")],
    why: Annotated[str, typer.Option(help="The reason, which is kept.")] = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Point an alias at a version."""
    show_model(connect(home, url).models.get(ref).set_alias(name, why=why).data, format)


def show_model(data: dict[str, Any], format: Format) -> None:
    if format is Format.json:
        show(data, format)
        return
    facts = {name: data.get(name) for name in SHOWN}
    facts["task"] = (
        facts["task"] or f"(base; can be fine-tuned for {', '.join(data['finetunable_tasks']) or 'nothing'})"
    )
    source = data["source"]
    where = f"@{source['commit']}" if source.get("commit") else ""
    show({**facts, "source": f"{source['kind']} {source['id']}{where}", "aliases": data.get("aliases")}, format)
