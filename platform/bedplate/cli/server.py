"""The server and what is done with it as a whole: `bedplate demo`, `serve`, `stop`, `doctor`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from bedplate.cli.output import (
    Format,
    FormatOption,
    HomeOption,
    say,
    show,
)

__all__ = ["demo", "doctor", "serve", "stop"]


def demo(home: HomeOption = None, format: FormatOption = Format.table) -> None:
    """The whole way on sample data, from import to batch, then what to try next."""
    from bedplate.demo import ENDPOINT, OUTPUT, run_demo

    if format is Format.table:
        run_demo(home)
        return
    with redirect_stdout(sys.stderr):
        run_demo(home)
    show({"model": OUTPUT, "endpoint": ENDPOINT}, format)


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port (BEDPLATE_PORT, 8686).")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate, PEM (BEDPLATE_TLS_CERT).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (BEDPLATE_TLS_KEY).")] = None,
    behind_proxy: Annotated[bool, typer.Option(help="A TLS proxy stands before this server.")] = False,
    home: HomeOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The server: REST and endpoints. One line says where it is; under --format json an error is an object."""
    from bedplate.gateway_process import Address
    from bedplate.serve import serve as run_server
    from bedplate.settings import Settings

    settings = Settings.from_environment()
    cert, key = (
        None if path is None else str(path.absolute())
        for path in (tls_cert or settings.tls_cert, tls_key or settings.tls_key)
    )
    address = Address(host, settings.port if port is None else port, cert, key, behind_proxy)
    raise typer.Exit(run_server((home or settings.home).absolute(), address))


def stop(
    everything: Annotated[bool, typer.Option("--all", help="Also stop jobs and endpoints' replicas.")] = False,
    home: HomeOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Stop the server of this home. Jobs and replicas go on, unless --all."""
    from bedplate.home import Home
    from bedplate.server_process import stop_running
    from bedplate.settings import Settings

    place = Home((home or Settings.from_environment().home).absolute())
    stopped = stop_running(place, everything=everything)
    if format is Format.json:
        show({"home": str(place.path), "stopped": stopped}, format)
    else:
        say("Stopped." if stopped else f"No server runs for {place.path}.")


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Look at nothing outside this machine.")] = False,
    home: HomeOption = None,
    format: FormatOption = Format.table,
) -> None:
    """What works here, each with a remedy where it does not."""
    from bedplate.doctor import examine
    from bedplate.settings import Settings

    settings = Settings.from_environment()
    found = examine(settings, home=home, offline=offline or settings.offline)
    show(found, format, columns=("check", "status", "detail", "remedy"))
    raise typer.Exit(1 if any(row["status"] == "fail" for row in found) else 0)
