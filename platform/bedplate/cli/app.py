"""The program and its top-level commands; the groups (`models`, `jobs`, …) lie beside this file."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from bedplate.cli import audit, datasets, endpoints, jobs, keys, models, users
from bedplate.cli.backup import backup, restore
from bedplate.cli.catalog import catalog
from bedplate.cli.collect import gc
from bedplate.cli.compute import show_compute
from bedplate.cli.output import (
    DetachOption,
    Format,
    FormatOption,
    HomeOption,
    NeedOption,
    PriorityOption,
    SetOption,
    UrlOption,
    WrongUse,
    close_connections,
    connect,
    follow,
    pairs,
    parse_needs,
    parse_values,
    read_text,
    say,
    show,
)
from bedplate.cli.sweep import sweep
from bedplate.console import EndpointProgress
from bedplate_registry.errors import Refused

__all__ = ["app"]

# What is shown of the metrics of a fine-tune, the one that matters most first.
HEADLINES = {
    "text-classification": ("accuracy", "f1_score_macro"),
    "token-classification": ("f1_score_micro", "accuracy"),
    "question-answering": ("f1_score", "exact_match"),
    "summarization": ("rougeL", "rouge1"),
    "translation": ("bleu", "chrf"),
}

app = typer.Typer(
    name="bedplate",
    help="A self-hosted foundation-model platform: import, evaluate, fine-tune, deploy, score.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (models, datasets, endpoints, jobs, users, keys, audit):
    app.add_typer(group.app)


@app.callback()
def _(context: typer.Context) -> None:
    """For every command."""
    context.call_on_close(close_connections)


MapOption = Annotated[list[str] | None, typer.Option("--map", help="key=column, once for each key of the task.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="One of the nine tasks.")]


@app.command()
def demo(home: HomeOption = None, format: FormatOption = Format.table) -> None:
    """The whole way on sample data, from import to batch, then what to try next."""
    from bedplate.demo import ENDPOINT, OUTPUT, run_demo

    if format is Format.table:
        run_demo(home)
        return
    with redirect_stdout(sys.stderr):
        run_demo(home)
    show({"model": OUTPUT, "endpoint": ENDPOINT}, format)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command("import")
def import_(
    model_id: Annotated[str | None, typer.Argument(metavar="[MODEL_ID]", help="org/name on the Hub.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A folder on this disk instead.")] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
    task: TaskOption = None,
    name: Annotated[str | None, typer.Option(help="Its name here; the MODEL_ID where not given.")] = None,
    hub: Annotated[str | None, typer.Option(help="The Hub to import from.")] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept its license, where the server asks for that.")
    ] = False,
    base: Annotated[str | None, typer.Option(help="Of an adapter: the version here that it is laid over.")] = None,
    convert_weights: Annotated[
        bool, typer.Option("--convert-weights", help="Convert weights that are pickles, in a cage.")
    ] = False,
    device: DeviceOption = "auto",
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would take, and fetch nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Import a model by its MODEL_ID, or from a folder."""
    if (model_id is None) == (source is None):
        raise WrongUse("Give either a MODEL_ID or --from DIR.", hint="For example: bedplate import org/name")
    if source is not None and name is None:
        raise WrongUse("A folder needs a name.", hint="Add --name org/name.")
    if source is not None and (revision is not None or hub is not None):
        raise WrongUse("--revision and --hub belong to a Hub, and --from to a folder.", hint="Leave them out.")
    line: dict[str, Any] = {"priority": priority, "needs": parse_needs(need)}
    line |= {"base": base, "accept_license": accept_license or None, "convert_weights": convert_weights or None}
    ws = connect(home, url)
    if dry_run:
        from bedplate.cli.import_plan import show_import_plan

        wanted = {key: line[key] for key in ("base", "accept_license", "convert_weights")}
        if source is not None:
            wanted = {key: value for key, value in wanted.items() if value is not None}
            plan = ws.plan_import_folder(source, str(name), task=task, **wanted)
        else:
            where: dict[str, Any] = {"revision": revision, "task": task, "name": name, "hub": hub}
            plan = ws.plan_import(str(model_id), **where, **wanted)
        show_import_plan(plan, format)
        return
    if source is not None:
        assert name is not None
        job = ws.submit_import_folder(source, name, task=task, device=device, **line)
    else:
        assert model_id is not None
        options: dict[str, Any] = {"revision": revision, "task": task, "name": name, "hub": hub, "device": device}
        job = ws.submit_import(model_id, **options, **line)
    follow(job, detach=detach, format=format)
    if not detach:
        if job.result["already_imported"]:
            made_of = "this very commit" if source is None else "these very files"
            say(f"{job.result['model']} was made of {made_of} before, and is whole: there is no new version.")
        models.show_model(job.model.data, format)


@app.command()
def finetune(
    model: Annotated[str, typer.Argument(metavar="REF", help="org/name, org/name:3 or org/name@alias.")],
    task: Annotated[str | None, typer.Option("--task", help="The task to learn.")] = None,
    train: Annotated[str | None, typer.Option("--train", help="A file or dataset.")] = None,
    validation: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    test: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    map: MapOption = None,
    config: Annotated[Path | None, typer.Option(help="A flat YAML file; flags override it.")] = None,
    set: SetOption = None,
    output: Annotated[str | None, typer.Option("--output", help="The name to register the result under.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    processes: Annotated[int | None, typer.Option("--processes", "--gpus", help="Processes, one a GPU.")] = None,
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve and check, start nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Fine-tune a model on data and register the result, with a report on its test rows."""
    flags: dict[str, Any] = {"task": task, "train": train, "validation": validation, "test": test}
    flags |= {"output": output, "device": device, "processes": processes, "priority": priority}
    request = _config(config) | {k: v for k, v in flags.items() if v is not None}
    request["needs"] = {**(request.get("needs") or {}), **(parse_needs(need) or {})}
    request["columns"] = {**request.get("columns", {}), **pairs(map or (), "--map")}
    request["settings"] = {**request.get("settings", {}), **parse_values(pairs(set or (), "--set"))}
    for needed in ("task", "train", "output"):
        if not request.get(needed):
            raise WrongUse(f"finetune needs {needed}.", hint=f"Add --{needed}, or write it in --config.")
    ws = connect(home, url)
    if dry_run:
        _show_plan(ws.plan_finetune(model, **request), format)
        return
    job = follow(ws.finetune(model, **request), detach=detach, format=format)
    if not detach:
        show(_finetuned(job.result, str(request["task"])) if format is Format.table else job.result, format)


def _config(path: Path | None) -> dict[str, Any]:
    """The file of --config as a request; whatever is no flag's name is a setting, which the server knows or refuses."""
    from bedplate.cli.config import read_config

    return read_config(path) if path is not None else {}


def _show_plan(spec: dict[str, Any], format: Format) -> None:
    if format is Format.json:
        show(spec, format)
        return
    show({key: spec[key] for key in ("model", "task", "rows", "columns", "output", "device", "processes")}, format)
    print()
    values, sources = spec["forecast"]["values"], spec["forecast"]["sources"]
    rows = [{"setting": name, "value": value, "from": sources[name]} for name, value in values.items()]
    show(rows, format, columns=("setting", "value", "from"))


def _finetuned(result: dict[str, Any], task: str) -> dict[str, Any]:
    """The metrics that matter most, and the first of them of the baselines."""
    metrics = result["test_metrics"] or result["metrics"]
    names = [name for name in HEADLINES.get(task, tuple(metrics)[:2]) if name in metrics]
    figures = {f"test {name}": metrics[name] for name in names}
    known = result["baselines"] or {}
    baselines = {f"{kind} {name}": each[name] for name in names[:1] for kind, each in known.items() if name in each}
    return {"model": result["model"], **figures, **baselines, "steps": result["steps"], "seconds": result["seconds"]}


app.command()(catalog)
models.app.command()(gc)
app.command()(sweep)
app.command()(backup)
app.command()(restore)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="REF")],
    data: Annotated[str, typer.Option("--data", help="A file or dataset to measure on.")],
    task: TaskOption = None,
    against: Annotated[str | None, typer.Option(help="Another model, on the same rows.")] = None,
    train: Annotated[str | None, typer.Option(help="Training data: needed for a base, gives baselines.")] = None,
    map: MapOption = None,
    set: SetOption = None,
    device: DeviceOption = "auto",
    priority: PriorityOption = None,
    need: NeedOption = None,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Evaluate a model; a base by a probe (frozen features and a logistic regression)."""
    ws = connect(home, url)
    settings = parse_values(pairs(set or (), "--set"))
    job = ws.evaluate(
        model,
        data=data,
        task=task,
        against=against,
        train=train,
        columns=pairs(map or (), "--map"),
        settings=settings,
        device=device,
        priority=priority,
        needs=parse_needs(need),
    )
    follow(job, detach=detach, format=format)
    if not detach:
        report = job.report.data
        show(report if format is Format.json else _figures(report), format, columns=("metric", *_sides(report)))


def _sides(report: dict[str, Any]) -> list[str]:
    baselines = list(report.get("baselines") or {})
    return [report["kind"], *(["against"] if report.get("against") else []), *baselines]


def _figures(report: dict[str, Any]) -> list[dict[str, Any]]:
    """One line a metric, one column for the model, the other one and each baseline."""
    against = (report.get("against") or {}).get("metrics", {})
    baselines = report.get("baselines") or {}
    return [
        {
            "metric": name,
            report["kind"]: value,
            "against": against.get(name),
            **{side: values.get(name) for side, values in baselines.items()},
        }
        for name, value in report["metrics"].items()
    ]


@app.command()
def deploy(
    model: Annotated[str | None, typer.Argument(metavar="REF")] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="The endpoint's name.")] = None,
    deployment: Annotated[str | None, typer.Option(help="The deployment's name; main where not given.")] = None,
    instances: Annotated[int | None, typer.Option(help="Processes that answer; 1 where not given.")] = None,
    traffic: Annotated[int | None, typer.Option(help="Its share in percent; the others share the rest.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="A batch endpoint: its jobs score files.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    gpu_memory_gb: Annotated[
        float | None, typer.Option(help="GiB of a GPU for each instance; reckoned from the model where not given.")
    ] = None,
    sample: Annotated[
        Path | None, typer.Option(help='A file with {"inputs": …}: what each instance must answer before it is used.')
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept its license, where the server asks for that.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of all these, as REST has them; flags override it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it and show what would come of it.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Deploy a model to an endpoint. A new real-time endpoint's key is shown this once."""
    if batch and sample is not None:
        raise WrongUse("A batch endpoint has no instances that answer a sample.", hint="Leave out --sample.")
    flags: dict[str, Any] = {"model": model, "name": endpoint, "deployment": deployment, "instances": instances}
    flags |= {"traffic": traffic, "device": device, "gpu_memory_gb": gpu_memory_gb}
    flags |= {"sample": None if sample is None else _sample_in(sample)}
    flags |= {"batch": batch or None, "accept_license": accept_license or None}
    request = _deployment(config) | {name: value for name, value in flags.items() if value is not None}
    batch, name = bool(request.pop("batch", False)), request.pop("name", None)
    ref = request.pop("model", None)
    if not ref or not name:
        raise WrongUse("deploy needs a model and an endpoint.", hint="For example: bedplate deploy REF --endpoint NAME")
    if batch and "sample" in request:
        raise WrongUse("A batch endpoint has no instances that answer a sample.", hint="Leave out --sample.")
    ws = connect(home, url)
    if dry_run:
        show(ws.plan_deploy(ref, endpoint=name, batch=batch, **request), format)
        return
    if batch:
        named = ws.deploy(ref, endpoint=name, batch=True, **request)
        show({"name": named.name, "task": named.task, "traffic": named.traffic}, format)
        say(f"Score a file with it: bedplate batch {named.name} --input FILE --output FILE")
        return
    made = ws.deploy(ref, endpoint=name, wait=False, **request)
    say(f"Endpoint {name} will answer at {made.url}")
    if made.key:
        say(f"Its key, shown this once: {made.key}")  # before the wait: a replica that does not start must not lose it
    if not detach:
        made.wait(watch=EndpointProgress())
    answer = {"name": made.name, "state": made.state, "url": made.url, "key": made.key}
    show({k: v for k, v in answer.items() if v is not None}, format)
    if made.key and format is Format.table:
        sample_of = made.samples.get(request.get("deployment", "main"), {})
        asked = sample_of.get("request", {"inputs": "hello"})
        say(f"Try: curl -H 'Authorization: Bearer {made.key}' -d {quote(json.dumps(asked))} {made.url}")


def _deployment(path: Path | None) -> dict[str, Any]:
    """The file of --config, whose names are those of REST; `batch: true` makes it a batch endpoint."""
    from bedplate.cli.config import read_request

    return read_request(path) if path is not None else {}


def _sample_in(file: Path) -> dict[str, Any]:
    """Raises Refused where the file holds no object."""
    try:
        value = json.loads(read_text(file))
    except ValueError as exc:
        raise Refused(f"{file} is not JSON: {exc}.", hint='It holds {"inputs": …}.', code="bad-sample") from exc
    if not isinstance(value, dict):
        raise Refused(f"{file} holds no object.", hint='It holds {"inputs": …}.', code="bad-sample")
    return value


@app.command()
def score(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    input: Annotated[str | None, typer.Option("--input", help="A text, or JSON: a list, an object.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A file with the JSON of the input.")] = None,
    set: SetOption = None,
    home: HomeOption = None,
    url: UrlOption = None,
    output: Annotated[Path | None, typer.Option("--output", help="The file that an image is written to.")] = None,
    format: FormatOption = Format.json,
) -> None:
    """Score one input or a list at an endpoint; the answer is JSON, whatever --format says, or an image."""
    if (input is None) == (file is None):
        raise WrongUse("Give either --input or --file.", hint='For example: --input "my card is lost"')
    text = read_text(file) if file is not None else input or ""
    inputs, found = _parsed(text), connect(home, url).endpoints.get(endpoint)
    if found.task == "text-to-image" and output is None and not isinstance(inputs, list):
        raise WrongUse("The answer is an image.", hint="Say where it goes: --output image.png")
    answer = found.score(inputs, **parse_values(pairs(set or (), "--set")))
    if isinstance(answer, bytes) and output is not None:
        _write_image(answer, output)
    else:
        print(json.dumps(answer, ensure_ascii=False))


def _write_image(image: bytes, output: Path) -> None:
    """Raises Refused where it cannot be written."""
    try:
        output.write_bytes(image)
    except OSError as exc:
        raise Refused(f"{output} cannot be written: {exc.strerror}.", hint="Check the path.") from exc
    say(f"{output} has {len(image)} bytes.")


def _parsed(text: str) -> Any:
    """JSON where it looks like a list, an object or a string; else the text itself."""
    if text.lstrip()[:1] not in ("[", "{", '"'):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise Refused(f"The input is not JSON: {exc}.", hint="Quote it, or give plain text.") from exc


@app.command()
def batch(
    model: Annotated[str, typer.Argument(metavar="REF|ENDPOINT")],
    input: Annotated[list[str], typer.Option("--input", help="A file or dataset, once for each; a job for each.")],
    output: Annotated[
        Path,
        typer.Option("--output", help="The file of scored rows, whose suffix tells the form; or a folder for them."),
    ],
    map: MapOption = None,
    error_threshold: Annotated[int, typer.Option(help="Bad rows that are allowed; -1: any number.")] = -1,
    set: SetOption = None,
    device: DeviceOption = "auto",
    priority: PriorityOption = None,
    need: NeedOption = None,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Score a file of rows, in order, with a reason beside each row that could not be scored.

    In a folder each result is named as its input. The rows of a detached job: bedplate jobs wait ID --output FILE.
    """
    targets = _targets(input, output)
    options: dict[str, Any] = {
        "columns": pairs(map or (), "--map"),
        "error_threshold": error_threshold,
        "device": device,
    }
    options |= {"parameters": parse_values(pairs(set or (), "--set"))}
    options |= {"priority": priority, "needs": parse_needs(need)}
    ws = connect(home, url)
    done = []
    for source, target in targets:
        job = ws.batch(model, input=source, output=target, **options)
        if detach:
            done.append({"id": job.id, "state": job.state, "output": str(target)})
            say(f"{job.id} runs; have its rows with: bedplate jobs wait {job.id} --output {target}")
        else:
            done.append({**follow(job, detach=False, format=format).result, "output": str(target)})
    show(done if len(done) > 1 else done[0], format, columns=tuple(done[0]))


def _targets(inputs: list[str], output: Path) -> list[tuple[str, Path]]:
    """Each input and where its rows go. Raises WrongUse where two would go to one place, or one onto its input."""
    if not output.is_dir():
        if len(inputs) > 1:
            raise WrongUse(
                f"--output {str(output)!r} is no folder.", hint="Several --input need a folder: make it first."
            )
        return [(inputs[0], output)]
    targets = [(source, output / Path(source).name) for source in inputs]
    for source, target in targets:
        if not Path(source).is_file():
            raise WrongUse(f"{source!r} is not a file to name its rows by.", hint="Give a file for --output.")
        if target.resolve() == Path(source).resolve():
            raise WrongUse(f"{str(target)!r} would be written over by its own rows.", hint="Choose another folder.")
    if len({target for _, target in targets}) < len(targets):
        raise WrongUse("Two inputs have one name, and so would their rows.", hint="Run them one by one.")
    return targets


@app.command()
def compute(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """Cores, memory and GPUs: what is free, who holds what since when, and who is next in line."""
    found = connect(home, url).compute()
    if format is Format.json:
        show(found, format)
    else:
        show_compute(found)
