"""`bedplate audit …`"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, WrongUse, connect, show

if TYPE_CHECKING:
    from bedplate.client import RemoteWorkspace

__all__ = ["app"]

app = typer.Typer(name="audit", help="Who changed what, and whether that record is whole.", no_args_is_help=True)
EXPECTED = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
SHOWN = ("via", "key", "from", "request_id", "status")  # of an entry's detail, not worth a column of their own


@app.command("list")
def list_(
    who: Annotated[str | None, typer.Option(help="Of one user.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """What was changed or asked for, the newest first."""
    items = [entry.data for entry in connect(home, url).audit.list(who=who, limit=limit)]
    rows = items if format is Format.json else [_row(item) for item in items]
    show(rows, format, columns=("seq", "time", "who", "status", "action", "what"))


@app.command()
def verify(
    expect: Annotated[
        str | None, typer.Option(metavar="SEQ:HASH", help="An entry as it was noted elsewhere: is it still that one?")
    ] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Walk along the log: was an entry changed, removed or put in? The code is 1 where one was.

    Note the last SEQ:HASH that it prints in another place. Whoever can write the whole database could make a new log
    that is whole too, or cut off its end: --expect finds that.
    """
    ws = connect(home, url)
    expected = None if expect is None else EXPECTED.fullmatch(expect.strip())
    if expect is not None and expected is None:
        raise WrongUse(f"--expect {expect!r} is not SEQ:HASH.", hint="Give what audit verify printed as `last`.")
    verdict = dict(ws.audit.verify().data)
    if expected is not None and verdict["intact"]:
        verdict["problem"] = _problem(ws, int(expected[1]), expected[2])
        verdict["intact"] = verdict["problem"] is None
    if format is Format.json:
        show(verdict, format)
    else:
        last = f"{verdict['seq']}:{verdict['hash']}"
        lines = {"log": "whole" if verdict["intact"] else "CHANGED", "entries": verdict["entries"], "last": last}
        show(lines if verdict["intact"] else {**lines, "problem": verdict["problem"]}, format)
    raise typer.Exit(0 if verdict["intact"] else 1)


def _problem(ws: RemoteWorkspace, seq: int, hash: str) -> str | None:
    """What is wrong with the entry of this number, which is right in itself."""
    found = ws.connection.get("/api/v1/audit", limit=1, after=seq + 1)["items"]
    if not found or found[0]["seq"] != seq:
        return f"Entry {seq} is not there any more: the end of the log was cut off."
    return None if found[0]["hash"] == hash else f"Entry {seq} is another one than was noted: the log was written anew."


def _row(item: dict[str, Any]) -> dict[str, Any]:
    detail = item["detail"]
    what = {name: value for name, value in detail.items() if name not in SHOWN}
    return {**item, "status": detail.get("status"), "what": " ".join(f"{name}={what[name]}" for name in what) or None}
