"""`bedplate import`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bedplate.cli import models
from bedplate.cli.output import (
    DetachOption,
    DeviceOption,
    Format,
    FormatOption,
    HomeOption,
    NeedOption,
    PriorityOption,
    TaskOption,
    UrlOption,
    WrongUse,
    connect,
    follow,
    parse_needs,
    say,
)

__all__ = ["import_"]


def import_(
    model_id: Annotated[str | None, typer.Argument(metavar="[MODEL_ID]", help="org/name on the Hub.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A folder on this disk instead.")] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
    task: TaskOption = None,
    name: Annotated[str | None, typer.Option(help="Its name here; the MODEL_ID where not given.")] = None,
    hub: Annotated[str | None, typer.Option(help="The Hub to import from.")] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept its license, where the server asks for that.")
    ] = False,
    base: Annotated[str | None, typer.Option(help="Of an adapter: the version here that it is laid over.")] = None,
    convert_weights: Annotated[
        bool, typer.Option("--convert-weights", help="Convert weights that are pickles, in a cage.")
    ] = False,
    device: DeviceOption = "auto",
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would take, and fetch nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Import a model by its MODEL_ID, or from a folder."""
    if (model_id is None) == (source is None):
        raise WrongUse("Give either a MODEL_ID or --from DIR.", hint="For example: bedplate import org/name")
    if source is not None and name is None:
        raise WrongUse("A folder needs a name.", hint="Add --name org/name.")
    if source is not None and (revision is not None or hub is not None):
        raise WrongUse("--revision and --hub belong to a Hub, and --from to a folder.", hint="Leave them out.")
    line: dict[str, Any] = {"priority": priority, "needs": parse_needs(need)}
    line |= {"base": base, "accept_license": accept_license or None, "convert_weights": convert_weights or None}
    ws = connect(home, url)
    if dry_run:
        from bedplate.cli.import_plan import show_import_plan

        wanted = {key: line[key] for key in ("base", "accept_license", "convert_weights")}
        if source is not None:
            wanted = {key: value for key, value in wanted.items() if value is not None}
            plan = ws.plan_import_folder(source, str(name), task=task, **wanted)
        else:
            where: dict[str, Any] = {"revision": revision, "task": task, "name": name, "hub": hub}
            plan = ws.plan_import(str(model_id), **where, **wanted)
        show_import_plan(plan, format)
        return
    if source is not None:
        assert name is not None
        job = ws.submit_import_folder(source, name, task=task, device=device, **line)
    else:
        assert model_id is not None
        options: dict[str, Any] = {"revision": revision, "task": task, "name": name, "hub": hub, "device": device}
        job = ws.submit_import(model_id, **options, **line)
    follow(job, detach=detach, format=format)
    if not detach:
        if job.result["already_imported"]:
            made_of = "this very commit" if source is None else "these very files"
            say(f"{job.result['model']} was made of {made_of} before, and is whole: there is no new version.")
        models.show_model(job.model.data, format)
