"""`bedplate jobs …`"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, Progress, UrlOption, connect, say, show

if TYPE_CHECKING:
    from bedplate.client import Job

__all__ = ["app", "new_lines"]

app = typer.Typer(name="jobs", help="Imports, fine-tunes, evaluations and batches.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(metavar="ID")]
SHOWN = ("id", "kind", "state", "attempt", "owner", "created", "started", "finished", "waiting", "result", "error")
FOLLOW_SECONDS = 0.5
ALL_LINES = 1_000_000


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
    format: FormatOption = Format.table,
) -> None:
    """What its worker printed. --follow shows a line when it is whole, which is when another one follows it.

    The server tells the last 64 KiB: of more than that between two looks, twice a second, the start is not shown.
    Under --format json it is one object, with --follow at the end of the job.
    """
    found = connect(home, url).jobs.get(job)
    if format is Format.json:
        while follow and not found.refresh().is_final:
            time.sleep(FOLLOW_SECONDS)
        show({"id": found.id, "log": found.logs(tail)}, format)
    elif follow:
        for line in _lines_of(found, tail):
            print(line, flush=True)
    else:
        print(found.logs(tail), end="")


def _lines_of(job: Job, tail: int) -> Iterator[str]:
    """The last lines and then each new one, once. A job's state is asked for before its log, so the last look at the
    log is at one that nobody writes to any more, and shows the final error."""
    seen: list[str] | None = None
    while True:
        is_final = job.refresh().is_final
        lines = job.logs(ALL_LINES).split("\n")[:-1]
        whole = lines if is_final else lines[:-1]  # the last one may still grow
        yield from (whole[-tail:] if tail > 0 else []) if seen is None else new_lines(seen, whole)
        seen = whole
        if is_final:
            return
        time.sleep(FOLLOW_SECONDS)


def new_lines(seen: list[str], now: list[str]) -> list[str]:
    """What of `now` comes after `seen`, where both are the end of one growing log; the first line may be cut."""
    first = now[0].lstrip("\ufffd") if now else ""  # half a character is shown as that
    for start in range(len(seen) + 1):
        overlap = seen[start:]
        if now[1 : len(overlap)] == overlap[1:] and (not overlap or (now and overlap[0].endswith(first))):
            return now[len(overlap) :]
    return now


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
    data = connect(home, url).jobs.get(job).cancel().data
    show({"id": data["id"], "state": data["state"]}, format)


@app.command()
def resume(
    job: JobArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Queue a failed or cancelled job again; it goes on from its last complete checkpoint."""
    data = connect(home, url).jobs.get(job).resume().data
    show({"id": data["id"], "state": data["state"]}, format)
