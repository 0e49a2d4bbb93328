"""`bedplate batch`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    DetachOption,
    DeviceOption,
    Format,
    FormatOption,
    HomeOption,
    MapOption,
    NeedOption,
    PriorityOption,
    SetOption,
    UrlOption,
    WrongUse,
    connect,
    follow,
    pairs,
    parse_needs,
    parse_values,
    say,
    show,
    take_data,
)

__all__ = ["batch"]


def batch(
    model: Annotated[str, typer.Argument(metavar="REF|ENDPOINT")],
    input: Annotated[
        list[str], typer.Option("--input", help="A file, dataset or folder of images, once for each; a job for each.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", help="The file of scored rows, whose suffix tells the form; or a folder for them."),
    ],
    map: MapOption = None,
    error_threshold: Annotated[int, typer.Option(help="Bad rows that are allowed; -1: any number.")] = -1,
    set: SetOption = None,
    device: DeviceOption = "auto",
    priority: PriorityOption = None,
    need: NeedOption = None,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Score a file of rows, in order, with a reason beside each row that could not be scored.

    In a folder each result is named as its input. The rows of a detached job: bedplate jobs wait ID --output FILE.
    """
    targets = _targets(input, output)
    options: dict[str, Any] = {
        "columns": pairs(map or (), "--map"),
        "error_threshold": error_threshold,
        "device": device,
    }
    options |= {"parameters": parse_values(pairs(set or (), "--set"))}
    options |= {"priority": priority, "needs": parse_needs(need)}
    ws = connect(home, url)
    done = []
    for source, target in targets:
        job = ws.batch(model, input=take_data(ws, source), output=target, **options)
        if detach:
            done.append({"id": job.id, "state": job.state, "output": str(target)})
            say(f"{job.id} runs; have its rows with: bedplate jobs wait {job.id} --output {target}")
        else:
            done.append({**follow(job, detach=False, format=format).result, "output": str(target)})
    show(done if len(done) > 1 else done[0], format, columns=tuple(done[0]))


def _targets(inputs: list[str], output: Path) -> list[tuple[str, Path]]:
    """Each input and where its rows go. Raises WrongUse where two would go to one place, or one onto its input."""
    if not output.is_dir():
        if len(inputs) > 1:
            raise WrongUse(
                f"--output {str(output)!r} is no folder.", hint="Several --input need a folder: make it first."
            )
        return [(inputs[0], output)]
    targets = [(source, output / Path(source).name) for source in inputs]
    for source, target in targets:
        if not Path(source).is_file():
            raise WrongUse(f"{source!r} is not a file to name its rows by.", hint="Give a file for --output.")
        if target.resolve() == Path(source).resolve():
            raise WrongUse(f"{str(target)!r} would be written over by its own rows.", hint="Choose another folder.")
    if len({target for _, target in targets}) < len(targets):
        raise WrongUse("Two inputs have one name, and so would their rows.", hint="Run them one by one.")
    return targets
