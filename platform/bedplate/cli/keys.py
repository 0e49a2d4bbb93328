"""`bedplate keys …`"""

from __future__ import annotations

from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, say, show

__all__ = ["app"]

app = typer.Typer(name="keys", help="Keys for programs and other machines.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="infer, batch, train, import or admin; once for each.")],
    days: Annotated[float | None, typer.Option(help="Days until it expires.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """A new key, shown this once."""
    body = {"name": name, "scopes": scope, "days": days}
    made = connect(home, url).connection.post("/api/v1/keys", {k: v for k, v in body.items() if v is not None})
    show(made if format is Format.json else {"id": made["id"], "key": made["key"]}, format)


@app.command("list")
def list_(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """All keys, without the keys themselves."""
    items = connect(home, url).connection.items("/api/v1/keys")
    show(items, format, columns=("id", "name", "scopes", "endpoint", "created", "expires", "revoked"))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID")],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Make a key invalid, at the gateway too, within a second."""
    from bedplate.connection import url_path

    connect(home, url).connection.request("DELETE", url_path("keys", key))
    if format is Format.json:
        show({"id": key, "revoked": True}, format)
    else:
        say(f"Key {key} is revoked.")
