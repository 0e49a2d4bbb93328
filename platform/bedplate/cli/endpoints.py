"""`bedplate endpoints …`"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, WrongUse, connect, pairs, say, show
from bedplate_registry.errors import NotFound
from bedplate_serving.log_lines import readable

if TYPE_CHECKING:
    from bedplate.client import BatchEndpoint, Endpoint, RemoteWorkspace

__all__ = ["app"]

app = typer.Typer(name="endpoints", help="Models that answer over HTTP, or score files.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="ENDPOINT")]
FACTS = ("name", "kind", "state", "task", "url")


@app.command("list")
def list_(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """All endpoints, real-time and batch."""
    ws = connect(home, url)
    items = [endpoint.data for endpoint in (*ws.endpoints.list(), *ws.batch_endpoints.list())]
    show(items, format, columns=FACTS)


@app.command("show")
def show_(
    name: NameArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """One endpoint and its deployments."""
    _show(_find(connect(home, url), name), format)


def _find(ws: RemoteWorkspace, name: str) -> Endpoint | BatchEndpoint:
    """Of either kind: they share one set of names. Raises NotFound."""
    try:
        return ws.endpoints.get(name)
    except NotFound as exc:
        try:
            return ws.batch_endpoints.get(name)
        except NotFound:
            raise exc from None


def _show(endpoint: Endpoint | BatchEndpoint, format: Format) -> None:
    data = endpoint.data
    if format is Format.json:
        show(data, format)
        return
    show({key: data[key] for key in FACTS}, format)
    print()
    columns = ["name", "model", "traffic", "device"]
    if data["kind"] == "real-time":
        columns[3:3] = ["instances", "ready"]
    if any(row.get("waiting") for row in data["deployments"]):
        columns.append("waiting")
    show(data["deployments"], format, columns=columns)
    for row in data["deployments"]:
        if row.get("sample"):
            say(f"{row['name']} is tried with {_brief(row['sample']['request'])}: {_brief(row['sample']['answer'])}")


def _brief(value: object) -> str:
    text = "no answer yet" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


@app.command()
def update(
    name: NameArgument,
    traffic: Annotated[list[str] | None, typer.Option("--traffic", help="deployment=percent, once for each.")] = None,
    instances: Annotated[list[str] | None, typer.Option("--instances", help="deployment=processes.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Share the traffic among the deployments, adding up to 100, or change how many processes answer."""
    from bedplate.client import Endpoint

    shares, counts = _numbers(traffic, "--traffic"), _numbers(instances, "--instances")
    if shares is None and counts is None:
        raise WrongUse("Nothing is to be changed.", hint="Give --traffic or --instances.")
    endpoint = _find(connect(home, url), name)
    if isinstance(endpoint, Endpoint):
        endpoint.update(traffic=shares, instances=counts)
    elif shares is None or counts is not None:
        raise WrongUse(f"{name} is a batch endpoint: it has no processes.", hint="Give --traffic alone.")
    else:
        endpoint.update(traffic=shares)
    _show(endpoint, format)


def _numbers(given: list[str] | None, option: str) -> dict[str, int] | None:
    if not given:
        return None
    found = pairs(given, option)
    if not all(value.isdecimal() for value in found.values()):
        raise WrongUse(f"{option} {found} is not in whole numbers.", hint=f"For example: {option} main=90")
    return {deployment: int(value) for deployment, value in found.items()}


@app.command()
def keys(
    name: NameArgument,
    rotate: Annotated[str | None, typer.Option(help="primary or secondary: a new key there, the old one ends.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The two keys of an endpoint; with --rotate a new one, shown this once."""
    endpoint = connect(home, url).endpoints.get(name)
    if rotate is None:
        show([key.data for key in endpoint.keys()], format, columns=("slot", "id", "created"))  # noqa: SIM118
        return
    made = endpoint.rotate_key(rotate)
    show(made.data if format is Format.json else {"slot": made.slot, "id": made.id, "key": made.text}, format)


@app.command()
def logs(
    name: NameArgument,
    tail: Annotated[int, typer.Option(help="Lines of each deployment.")] = 200,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The last lines of its replicas."""
    text = connect(home, url).endpoints.get(name).logs(tail)
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
    _find(connect(home, url), name).delete()
    if format is Format.json:
        show({"endpoint": name, "deleted": True}, format)
    else:
        say(f"Endpoint {name} is deleted.")
