"""`bedplate deploy` and `bedplate score`"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    DetachOption,
    Format,
    FormatOption,
    HomeOption,
    SetOption,
    UrlOption,
    WrongUse,
    connect,
    pairs,
    parse_values,
    read_text,
    say,
    show,
)
from bedplate.console import EndpointProgress
from bedplate_registry.errors import Refused

__all__ = ["deploy", "score"]


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
    except (ValueError, RecursionError) as exc:
        raise Refused(f"{file} is not JSON: {exc}.", hint='It holds {"inputs": …}.', code="bad-sample") from exc
    if not isinstance(value, dict):
        raise Refused(f"{file} holds no object.", hint='It holds {"inputs": …}.', code="bad-sample")
    return value


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
