"""`bedplate users …`"""

from __future__ import annotations

from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, say, show, time_text

__all__ = ["app"]

app = typer.Typer(name="users", help="Who may do what, and links that sign browsers in.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
ROLES = "viewer, user, operator or admin"
COLUMNS = ("name", "role", "disabled", "created")


@app.command("list")
def list_(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """All users, this machine's own first."""
    items = [user.data for user in connect(home, url).users.list()]
    show(items, format, columns=COLUMNS)


@app.command()
def create(
    name: NameArgument,
    role: Annotated[str, typer.Option(help=f"{ROLES}.")] = "user",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """A new user. There is no password: give a link (users link) or a key (keys create)."""
    made = connect(home, url).users.create(name, role=role)
    show(made.data, format)
    if format is Format.table:
        say(f"Sign a browser of {name} in with: bedplate users link {name}")


@app.command()
def role(
    name: NameArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"{ROLES}.")],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Give another role. It acts at once, for keys and sessions too."""
    show(connect(home, url).users.get(name).change(role=role).data, format)


@app.command()
def disable(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Shut a user out, with all keys and sessions, at once."""
    show(connect(home, url).users.get(name).change(disabled=True).data, format)


@app.command()
def enable(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Let a user in again: keys work as before, browsers sign in anew."""
    show(connect(home, url).users.get(name).change(disabled=False).data, format)


@app.command()
def link(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Yourself where not given.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """A link that signs one browser in, once, within ten minutes."""
    made = connect(home, url).users.link(name)
    if format is Format.json:
        show(made, format)
        return
    print(made["url"])
    say(f"It works once, until {time_text(made['expires'])}.")
