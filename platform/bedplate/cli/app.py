"""The program: its top-level commands, and the groups (`models`, `jobs`, …), each in a file beside this one."""

from __future__ import annotations

from collections.abc import Callable

import typer

from bedplate.cli import audit, datasets, endpoints, evaluations, jobs, keys, models, users
from bedplate.cli.backup import backup, restore
from bedplate.cli.batch import batch
from bedplate.cli.catalog import catalog
from bedplate.cli.collect import gc
from bedplate.cli.compute import compute
from bedplate.cli.deploy import deploy, score
from bedplate.cli.evaluate import evaluate
from bedplate.cli.export import export
from bedplate.cli.finetune import finetune
from bedplate.cli.import_model import import_
from bedplate.cli.leaderboard import leaderboard
from bedplate.cli.output import close_connections
from bedplate.cli.server import demo, doctor, serve, stop
from bedplate.cli.sweep import sweep

__all__ = ["app"]

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "serve": serve,
    "stop": stop,
    "doctor": doctor,
    "catalog": catalog,
    "import": import_,
    "finetune": finetune,
    "sweep": sweep,
    "evaluate": evaluate,
    "leaderboard": leaderboard,
    "deploy": deploy,
    "score": score,
    "batch": batch,
    "compute": compute,
    "backup": backup,
    "restore": restore,
}

app = typer.Typer(
    name="bedplate",
    help="A self-hosted foundation-model platform: import, evaluate, fine-tune, deploy, score.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (models, datasets, evaluations, endpoints, jobs, users, keys, audit):
    app.add_typer(group.app)
models.app.command()(gc)
jobs.app.command()(export)
for name, command in COMMANDS.items():
    app.command(name)(command)


@app.callback()
def _(context: typer.Context) -> None:
    """For every command."""
    context.call_on_close(close_connections)
