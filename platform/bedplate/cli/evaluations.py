"""`bedplate evaluations …`"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, TaskOption, UrlOption, connect, show
from bedplate.cli.report import PageOption, PredictionsOption, check_files, show_report, write_files

__all__ = ["app"]

app = typer.Typer(name="evaluations", help="Reports of evaluations that were made.", no_args_is_help=True)
ABOUT = ("id", "created", "model", "task", "data")


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Option(help="Those of one version, as in org/name:3.")] = None,
    task: TaskOption = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """What was measured, the newest first."""
    found = [report.data for report in connect(home, url).evaluations.list(model=model, task=task)]
    rows = found if format is Format.json else [{**_about(report), **_main(report)} for report in found]
    show(rows, format, columns=(*ABOUT, "rows", "metric", "value"))


@app.command("show")
def show_(
    evaluation: Annotated[str, typer.Argument(metavar="ID")],
    page: PageOption = None,
    predictions: PredictionsOption = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """A report by its id: its metrics, and where asked for its page and its predictions as files."""
    check_files(page, predictions)
    report = connect(home, url).evaluations.get(evaluation)
    write_files(report, page, predictions)
    if format is Format.table:
        show(_about(report.data), format)
        print()
    show_report(report.data, format)


def _about(report: Mapping[str, Any]) -> dict[str, Any]:
    data, against = report.get("data") or {}, (report.get("against") or {}).get("model")
    where = data.get("dataset") or data.get("filename") or data.get("sha256")
    about = {"id": report["id"], "created": report["created"], "model": report["model"]}
    about |= {"against": against} if against else {}
    part = f" ({data['split']} rows)" if data.get("split") else ""
    return {**about, "task": report.get("task"), "data": f"{where}{part}", "rows": data.get("rows")}


def _main(report: Mapping[str, Any]) -> dict[str, Any]:
    from bedplate.report_metrics import in_order

    metrics = report["metrics"]
    first = next(iter(in_order(report, metrics)), None)
    return {"metric": first, "value": metrics[first] if first else None}
