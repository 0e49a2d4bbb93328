"""What all commands share: --home, --url and --format, tables and JSON, progress bars, and errors as one sentence."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    "Format",
    "FormatOption",
    "HomeOption",
    "Progress",
    "UrlOption",
    "connect",
    "follow",
    "pairs",
    "run",
    "say",
    "show",
]


class Format(StrEnum):
    table = "table"
    json = "json"


HomeOption = Annotated[Path | None, typer.Option("--home", help="The folder of state (BEDPLATE_HOME).")]
UrlOption = Annotated[str | None, typer.Option("--url", help="Another server (BEDPLATE_URL).")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the answer.")]


def connect(home: Path | None, url: str | None) -> RemoteWorkspace:
    from bedplate.client import connect

    return connect(url, home=home) if home is None else connect(home=home)


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
        return f"{value:.4g}" if value < 1e6 else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """`key=value` options as a mapping. Raises Refused."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise Refused(f"{option} {text!r} is not key=value.", hint=f"Write it as {option} key=value.")
        found[key.strip()] = value.strip()
    return found


def parse_values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Settings as YAML scalars, so that numbers and booleans are what they look like; `3e-5` is a number."""
    import yaml

    def parse(text: str) -> Any:
        try:
            return float(text) if "e" in text.lower() else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError):
            return text

    return {key: parse(text) for key, text in texts.items()}


def follow(job: Job, *, detach: bool) -> Job:
    """Wait with progress; Ctrl-C cancels the job and waits until it is gone."""
    if detach:
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
        app(standalone_mode=False, prog_name="bedplate")
    except BedplateError as exc:
        _print_error(exc.to_json(), as_json)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        say("Stopped.")
        return 1
    except typer.Exit as exc:
        return exc.exit_code
    except Exception as exc:
        if not hasattr(exc, "format_message"):  # not one of click's: a defect of ours, shown as such
            raise
        usage = getattr(exc, "ctx", None)
        program = usage.command_path if usage is not None else "bedplate"
        _print_error({"code": "usage", "message": exc.format_message(), "hint": f"See: {program} --help"}, as_json)
        return 2
    return 0


def _print_error(error: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": dict(error)}))
    else:
        say(f"Error: {error['message']} {error['hint']}".rstrip())
