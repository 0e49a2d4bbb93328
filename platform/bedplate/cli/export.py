"""`bedplate jobs export …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, say, show

__all__ = ["export"]

LOOK = {
    "tensorboard": "tensorboard --logdir {folder}",
    "mlflow": "mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db",
}


def export(
    job: Annotated[str, typer.Argument(metavar="ID", help="A fine-tune, or a sweep with its trials.")],
    to: Annotated[str, typer.Option("--to", help="tensorboard or mlflow.")],
    output: Annotated[Path, typer.Option("--output", help="A folder of yours, which other runs may be in.")],
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Write a fine-tune or a sweep for TensorBoard or MLflow: settings, figures by step, where it comes from."""
    folder = connect(home, url).jobs.get(job).export(to, output).resolve()
    show({"job": job, "to": to, "output": str(folder)}, format)
    say(f"Look at it with: {LOOK[to].format(folder=folder)}")
