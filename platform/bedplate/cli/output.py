"""What all commands share: --home, --url and --format, tables and JSON, progress bars, and errors as one sentence."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedplate.console import Progress, say
from bedplate_registry.errors import BedplateError, Refused

if TYPE_CHECKING:
    from bedplate.client import Job, RemoteWorkspace

__all__ = [
    "ConfigOption",
    "DetachOption",
    "DeviceOption",
    "Format",
    "FormatOption",
    "GpusOption",
    "HomeOption",
    "MapOption",
    "NeedOption",
    "PriorityOption",
    "Progress",
    "SetOption",
    "TaskOption",
    "UrlOption",
    "WrongUse",
    "close_connections",
    "connect",
    "follow",
    "on_gpus",
    "pairs",
    "parse_needs",
    "parse_settings",
    "parse_value",
    "parse_values",
    "read_text",
    "run",
    "say",
    "show",
    "size_text",
    "take_data",
    "time_text",
]


INTERRUPTED = 130  # what typer gives back for Ctrl-C; for typer.Exit it gives back its code
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


class WrongUse(Refused):
    """A command that cannot be meant so: exit code 2, where a failure is 1."""

    code = "usage"


class Format(StrEnum):
    table = "table"
    json = "json"


def _expanded(folder: Path | None) -> Path | None:
    try:
        return folder.expanduser() if folder is not None else None
    except RuntimeError as exc:
        raise WrongUse(f"--home {str(folder)!r}: there is no such user.", hint="Write out the path.") from exc


HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The folder of state (BEDPLATE_HOME).", callback=_expanded)
]
UrlOption = Annotated[str | None, typer.Option("--url", help="Another server (BEDPLATE_URL).")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the answer.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="One of the nine tasks.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
MapOption = Annotated[list[str] | None, typer.Option("--map", help="key=column, once for each key of the task.")]
# Of every command that submits a job:
SetOption = Annotated[list[str] | None, typer.Option("--set", help="name=value, once for each setting.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A flat YAML file; flags override it.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Leave it running and return at once.")]
GpusOption = Annotated[int | None, typer.Option("--gpus", min=1, help="So many GPUs, with one process on each.")]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", help="-100 to 100; the higher, the sooner. 0 where not given.")
]
NeedOption = Annotated[
    list[str] | None,
    typer.Option("--need", help="name=value, once for each: cores, memory_gb, gpu_memory_gb, preemptible."),
]


_opened = ExitStack()


def connect(home: Path | None, url: str | None) -> RemoteWorkspace:
    """A workspace, for as long as the command runs."""
    from bedplate_serving.out_of_sight import out_of_sight

    with out_of_sight("httpx._main"):  # its command line, which loads rich, pygments and click: 40 ms at least
        from bedplate.client import connect

    if home is not None and url is not None:
        raise WrongUse("--home and --url name two servers.", hint="Give one of them.")
    ws = connect(url, home=home)
    _opened.callback(ws.close)
    return ws


def close_connections() -> None:
    """End those that the command opened."""
    _opened.close()


def show(value: Any, format: Format, *, columns: Sequence[str] = ()) -> None:
    """Data on stdout: JSON, or a table of `columns` for a list, or name and value for an object."""
    if format is Format.json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    elif isinstance(value, list):
        _print_table([[_cell(row.get(column)) for column in columns] for row in value], columns)
    else:
        width = max((len(name) for name in value), default=0)
        for name, item in value.items():
            print(f"{name:<{width}}  {_cell(item)}")


def _print_table(rows: list[list[str]], columns: Sequence[str]) -> None:
    widths = [max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(columns)]
    for row in [list(columns), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if value < 1e6 else time_text(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def time_text(seconds: float) -> str:
    """A time since 1970 as this machine's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size_text(size_bytes: int) -> str:
    """Cut and not rounded, so that too little never reads as enough."""
    return f"{size_bytes * 10 // (1 << 30) / 10:.1f} GiB"


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """`key=value` options as a mapping. Raises WrongUse."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise WrongUse(f"{option} {text!r} is not key=value.", hint=f"Write it as {option} key=value.")
        found[key.strip()] = value.strip()
    return found


def parse_values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Settings as YAML scalars, so that numbers and booleans are what they look like."""
    return {key: _parsed(text) for key, text in texts.items()}


def parse_settings(given: Iterable[str] | None, kind: type[Any]) -> dict[str, Any]:
    """What --set says, as the settings of a dataclass of ours. What is a text there stands as it is unless it is in
    quotes: YAML takes `no`, which is a language and a label, for false. Raises WrongUse.
    """
    from dataclasses import fields

    plain = {item.name for item in fields(kind) if item.metadata["kind"] in ("text", "words")}
    texts = pairs(given or (), "--set")
    bare = {key: text for key, text in texts.items() if key in plain and text[:1] not in ("'", '"')}
    return {**parse_values({key: text for key, text in texts.items() if key not in bare}), **bare}


def parse_needs(given: Iterable[str] | None) -> dict[str, Any] | None:
    """What --need says; None where it says nothing."""
    return parse_values(pairs(given, "--need")) if given else None


def parse_value(value: Any) -> Any:
    """A value of YAML 1.1, which takes `3e-5` for a text: here it is a number, also within lists and mappings."""
    if isinstance(value, dict):
        return {key: parse_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [parse_value(item) for item in value]
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def _parsed(text: str) -> Any:
    import yaml

    try:
        value = parse_value(yaml.safe_load(text))
    except (ValueError, RecursionError, yaml.YAMLError):
        return text
    return value if isinstance(value, (str, int, float, list, dict, type(None))) else text  # a date is a text


def read_text(file: Path) -> str:
    """A file of text that an option names. Raises Refused."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise Refused(f"{file} cannot be read: {exc.strerror}.", hint="Check the path.") from exc
    except UnicodeDecodeError as exc:
        raise Refused(f"{file} is not text in UTF-8: {exc.reason}.", hint="Save it as UTF-8.") from exc


def on_gpus(gpus: int | None, processes: int | None, device: str | None) -> dict[str, Any]:
    """`device` and `processes` of a request, where --gpus says both. Raises WrongUse where another option does too."""
    if gpus is None:
        return {"processes": processes, "device": device}
    if processes is not None:
        hint = "Give one of them; on the CPU: --device cpu --processes 2"
        raise WrongUse(f"--gpus {gpus} is --processes {gpus}, one on each GPU: it does not go with another.", hint=hint)
    if device not in (None, "cuda"):
        hint = f"Leave one of them out, or take processes: --device {device} --processes {gpus}"
        raise WrongUse(f"--gpus {gpus} does not go with --device {device}.", hint=hint)
    return {"processes": gpus, "device": "cuda"}


def take_data(ws: RemoteWorkspace, value: str) -> Any:
    """What an option names as data. A folder of images is a dataset from here on, and it is said which."""
    if not Path(value).is_dir():
        return value
    found = ws.data(value, images=True)
    is_name = found == value
    say(f"{value} is the dataset; the folder is {value}/." if is_name else f"{value} is the dataset {found} now.")
    return found


def follow(job: Job, *, detach: bool, format: Format) -> Job:
    """Wait with progress; Ctrl-C cancels the job and waits until it is gone. A detached one is shown as it is."""
    if detach:
        show({"id": job.id, "state": job.state}, format)
        say(f"{job.id} runs; follow it with: bedplate jobs wait {job.id}")
        return job
    try:
        return job.wait(watch=Progress())
    except KeyboardInterrupt:
        say(f"\nCancelling {job.id} …")
        job.cancel()
        return job.wait(watch=Progress())


def run(app: Callable[..., Any]) -> int:
    """The outer edge: an error is one sentence that says what to do next, or an object under --format json."""
    as_json = "--format=json" in sys.argv or ("--format", "json") in pairwise(sys.argv)
    try:
        code = app(standalone_mode=False, prog_name="bedplate")
        sys.stdout.flush()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return int(code or 0)
    except BedplateError as exc:
        _print_error(exc.to_json(), as_json)
        return 2 if isinstance(exc, WrongUse) else 1
    except (KeyboardInterrupt, typer.Abort):
        say("Stopped.")
        return 1
    except BrokenPipeError:
        # Whoever read our output has enough, as `head` does; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, OverflowError) as exc:
        _print_error(_of_the_system(exc), as_json)
        return 1
    except Exception as exc:
        if not hasattr(exc, "format_message"):  # not one of click's: a defect of ours, shown as such
            raise
        usage = getattr(exc, "ctx", None)
        program = usage.command_path if usage is not None else "bedplate"
        _print_error({"code": "usage", "message": exc.format_message(), "hint": f"See: {program} --help"}, as_json)
        return 2


def _of_the_system(exc: OSError | OverflowError) -> dict[str, str]:
    if isinstance(exc, TimeoutError) and exc.errno is None:
        return {
            "code": "timeout",
            "message": str(exc),
            "hint": "It goes on: see bedplate jobs list and bedplate endpoints list.",
        }
    reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    where = f"{exc.filename}: " if isinstance(exc, OSError) and exc.filename else ""
    hint = "Check the path, its permissions and the room on its disk; bedplate doctor tells more."
    return {"code": "system", "message": f"{where}{reason}.", "hint": hint}


def _print_error(error: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": dict(error)}))
    else:
        say(f"Error: {_sentence(error['message'])} {error['hint']}".rstrip())


def _sentence(text: str) -> str:
    """With a full stop, so that the hint after it can be told from it."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?", ":", "…")) else f"{text}."
