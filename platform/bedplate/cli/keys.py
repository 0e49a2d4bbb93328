"""`bedplate keys …`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, say, show

__all__ = ["app"]

app = typer.Typer(name="keys", help="Keys for programs and other machines.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="infer, batch, train, import or admin; once for each.")],
    user: Annotated[str | None, typer.Option(help="Whose it is; another user's only for admins.")] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option("--endpoint", help="It scores at these and does nothing else; once for each.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Days until it expires.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second, at most.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests open at once, at most.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """A new key, shown this once. It never allows more than the role of its owner."""
    options: dict[str, Any] = {
        "user": user,
        "endpoints": endpoint,
        "days": days,
        "rate": rate,
        "concurrency": concurrency,
    }
    made = connect(home, url).keys.create(name, scope, **options)
    show(made.data if format is Format.json else {"id": made.id, "key": made.text}, format)


@app.command("list")
def list_(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """Your keys; for admins everybody's, those of endpoints too. Not the keys themselves."""
    items = [key.data for key in connect(home, url).keys.list()]
    show(items, format, columns=("id", "name", "owner", "scopes", "endpoints", "created", "expires", "revoked"))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID")],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Make a key invalid, at the gateway too, within a second."""
    connect(home, url).keys.revoke(key)
    if format is Format.json:
        show({"id": key, "revoked": True}, format)
    else:
        say(f"Key {key} is revoked.")
