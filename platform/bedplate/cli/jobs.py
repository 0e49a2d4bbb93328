"""`bedplate jobs …`"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, Progress, UrlOption, connect, show

__all__ = ["app"]

app = typer.Typer(name="jobs", help="Imports, fine-tunes, evaluations and batches.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(metavar="ID")]
SHOWN = ("id", "kind", "state", "attempt", "owner", "created", "started", "finished", "waiting", "result", "error")
FOLLOW_SECONDS = 0.5


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help="import, finetune, evaluate or batch.")] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Jobs, newest first."""
    items = [job.data for job in connect(home, url).jobs.list(kind=kind, state=state)]
    show(items, format, columns=("id", "kind", "state", "created", "waiting"))


@app.command("show")
def show_(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """One job."""
    data = connect(home, url).jobs.get(job).data
    show(data if format is Format.json else {name: data[name] for name in SHOWN if data[name] is not None}, format)


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job has ended.")] = False,
    tail: Annotated[int, typer.Option(help="Lines.")] = 200,
    home: HomeOption = None,
    url: UrlOption = None,
) -> None:
    """What its worker printed."""
    found = connect(home, url).jobs.get(job)
    shown = found.logs(tail)
    print(shown, end="")
    while follow and not found.refresh().is_final:
        time.sleep(FOLLOW_SECONDS)
        now = found.logs(10_000)
        print(now[len(shown) :] if now.startswith(shown) else now, end="", flush=True)
        shown = now


@app.command()
def wait(job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """Follow a job to its end."""
    found = connect(home, url).jobs.get(job).wait(watch=Progress())
    show(found.result, format)


@app.command()
def cancel(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Cancel a job and all its processes."""
    data = connect(home, url).jobs.get(job).cancel().data
    show({"id": data["id"], "state": data["state"]}, format)


@app.command()
def resume(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Queue a failed or cancelled job again; it goes on from its last complete checkpoint."""
    data = connect(home, url).jobs.get(job).resume().data
    show({"id": data["id"], "state": data["state"]}, format)
