"""`bedplate jobs …`"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    DetachOption,
    Format,
    FormatOption,
    HomeOption,
    NeedOption,
    PriorityOption,
    Progress,
    SetOption,
    UrlOption,
    connect,
    pairs,
    parse_needs,
    parse_values,
    say,
    show,
    size_text,
    time_text,
)
from bedplate.cli.output import follow as wait_for
from bedplate_serving.log_lines import readable

__all__ = ["app"]

app = typer.Typer(name="jobs", help="Imports, fine-tunes, evaluations and batches.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(metavar="ID")]
LISTED = ("id", "kind", "state", "priority", "owner", "created", "waiting")
SHOWN = (
    *("id", "kind", "state", "attempt", "priority", "preemptible", "parent", "owner"),
    *("created", "started", "finished", "archived", "waiting", "position", "demand", "lease", "progress"),
    *("result", "error"),
)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help="import, finetune, evaluate, batch and so on.")] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only the jobs that this one submitted.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="The archived ones instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 100,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Jobs, newest first."""
    found = connect(home, url).jobs.list(kind=kind, state=state, parent=parent, archived=archived, limit=limit)
    show([job.data for job in found], format, columns=LISTED)


@app.command("show")
def show_(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """One job."""
    data = connect(home, url).jobs.get(job).data
    show(data if format is Format.json else _facts(data), format)


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of it; sizes and times as people read them."""
    shown = {**data, "demand": _resources(data["demand"])}
    if lease := data["lease"]:
        shown["lease"] = f"{_resources(lease)}, since {time_text(lease['since'])}"
    return {name: shown[name] for name in SHOWN if shown[name] not in (None, "")}


def _resources(held: Mapping[str, Any]) -> str:
    """A demand, whose cards are a number, or a lease, which names them."""
    share, gpus = held["gpu_memory_bytes"], held["gpus"]
    parts = [f"{held['cores']} cores", f"{size_text(held['memory_bytes'])} of memory"]
    if gpus:
        which = f"{gpus} GPUs" if isinstance(gpus, int) else " ".join(gpus)
        parts.append(which if share is None else f"{size_text(share)} of {which}")
    return ", ".join(parts)


@app.command()
def submit(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Any kind that the server knows.")],
    config: Annotated[Path | None, typer.Option(help="A YAML file: the request as REST takes it.")] = None,
    set: SetOption = None,
    file: Annotated[list[str] | None, typer.Option("--file", help="name=PATH: a file of yours, uploaded.")] = None,
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve and check, start nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Submit a job of any kind. --set overrides --config; a value is YAML, such as settings={learning_rate: 3e-5}."""
    from bedplate.cli.config import read_request

    request = read_request(config) if config is not None else {}
    request |= parse_values(pairs(set or (), "--set"))
    if priority is not None:
        request["priority"] = priority
    if needs := parse_needs(need):
        request["needs"] = {**(request.get("needs") or {}), **needs}
    files = pairs(file or (), "--file")
    ws = connect(home, url)
    request |= {name: ws.upload(path) for name, path in files.items()}
    if dry_run:
        plan = ws.plan(kind, request)
        show(plan if format is Format.json else {**plan, "demand": _resources(plan["demand"])}, format)
        return
    job = wait_for(ws.submit(kind, request), detach=detach, format=format)
    if not detach:
        show(job.result, format)


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job has ended.")] = False,
    tail: Annotated[int, typer.Option(min=0, help="Lines that are there already.")] = 200,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """What its worker printed, line by line. Under --format json it is one object, with --follow at the end."""
    found = connect(home, url).jobs.get(job)
    lines = found.logs(tail, follow=True) if follow else _lines(found.logs(tail))
    if format is Format.json:
        show({"id": found.id, "log": "".join(f"{line}\n" for line in lines)}, format)
        return
    for line in lines:
        print(readable(line), flush=follow)


def _lines(text: str) -> Iterator[str]:
    yield from text.removesuffix("\n").split("\n") if text else ()


@app.command()
def wait(
    job: JobArgument,
    output: Annotated[Path | None, typer.Option("--output", help="Where to write the rows of a batch job.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Follow a job to its end."""
    found = connect(home, url).jobs.get(job).wait(watch=Progress())
    if output is not None:
        say(f"Its rows are in {found.fetch_output(output)}")
    show(found.result, format)


@app.command()
def cancel(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Cancel a job and all its processes."""
    _tell(connect(home, url).jobs.get(job).cancel().data, format)


@app.command()
def resume(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Queue a failed or cancelled job again; it goes on from its last complete checkpoint."""
    _tell(connect(home, url).jobs.get(job).resume().data, format)


@app.command()
def retry(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Queue a failed or cancelled job again; it starts over."""
    _tell(connect(home, url).jobs.get(job).retry().data, format)


@app.command()
def rerun(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Submit another job like this one: the same data, versions and settings."""
    again = connect(home, url).jobs.get(job).rerun()
    _tell(again.data, format)
    say(f"Follow it with: bedplate jobs wait {again.id}")


@app.command()
def compare(
    jobs: Annotated[list[str], typer.Argument(metavar="ID ID…", help="Two fine-tunes or more.")],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Show of several fine-tunes what each came to, on validation and test rows, and in which settings they differ."""
    from bedplate.comparison import compare_runs

    ws = connect(home, url)
    found = compare_runs([ws.jobs.get(job).data for job in jobs])
    if format is Format.json:
        show(found.to_json(), format)
        return
    for what, lines in (("setting", {"state": found.states, **found.settings}), ("metric", found.metrics)):
        rows = [{what: name, **dict(zip(found.runs, values, strict=True))} for name, values in lines.items()]
        show(rows, format, columns=(what, *found.runs))
        print()


@app.command()
def archive(
    job: JobArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Show it again.")] = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Hide a job that has ended from the list. Nothing of it is deleted."""
    data = connect(home, url).jobs.get(job).archive(archived=not undo).data
    show({"id": data["id"], "state": data["state"], "archived": data["archived"]}, format)


def _tell(data: Mapping[str, Any], format: Format) -> None:
    show({"id": data["id"], "state": data["state"]}, format)
