"""`bedplate endpoints …`"""

from __future__ import annotations

from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, WrongUse, connect, pairs, say, show
from bedplate_serving.log_lines import readable

__all__ = ["app"]

app = typer.Typer(name="endpoints", help="Models that answer over HTTP.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="ENDPOINT")]


@app.command("list")
def list_(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """All endpoints."""
    items = [endpoint.data for endpoint in connect(home, url).endpoints.list()]
    show(items, format, columns=("name", "state", "task", "url"))


@app.command("show")
def show_(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """One endpoint and its deployments."""
    data = connect(home, url).endpoints.get(name).data
    if format is Format.json:
        show(data, format)
        return
    show({key: data[key] for key in ("name", "state", "task", "url")}, format)
    print()
    columns = ["name", "model", "traffic", "instances", "ready", "device"]
    if any(row["waiting"] for row in data["deployments"]):
        columns.append("waiting")
    show(data["deployments"], format, columns=columns)


@app.command()
def update(
    name: NameArgument,
    traffic: Annotated[list[str], typer.Option("--traffic", help="deployment=percent, once for each.")],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Share the traffic among the deployments; the shares add up to 100."""
    shares = pairs(traffic, "--traffic")
    if not all(value.isdecimal() for value in shares.values()):
        raise WrongUse(
            f"Traffic {shares} is not in whole percent.", hint="For example: --traffic blue=90 --traffic green=10"
        )
    from bedplate.connection import url_path

    body = {"traffic": {deployment: int(value) for deployment, value in shares.items()}}
    ws = connect(home, url)
    ws.connection.request("PATCH", url_path("endpoints", name), json=body)
    show_(name, home=home, url=url, format=format)


@app.command()
def keys(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Another key for this endpoint, shown this once."""
    from bedplate.connection import url_path

    made = connect(home, url).connection.post(url_path("endpoints", name, "keys"))
    show(made if format is Format.json else {"id": made["id"], "key": made["key"]}, format)


@app.command()
def logs(
    name: NameArgument,
    tail: Annotated[int, typer.Option(help="Lines of each deployment.")] = 200,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The last lines of its replicas."""
    from bedplate.connection import url_path

    path = url_path("endpoints", name, "logs")
    text = connect(home, url).connection.request("GET", path, params={"tail": tail}).text
    if format is Format.json:
        show({"endpoint": name, "log": text}, format)
    else:
        for line in text.splitlines():
            print(readable(line))


@app.command()
def delete(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Delete an endpoint, its deployments and its keys. The models stay."""
    connect(home, url).endpoints.get(name).delete()
    if format is Format.json:
        show({"endpoint": name, "deleted": True}, format)
    else:
        say(f"Endpoint {name} is deleted.")
