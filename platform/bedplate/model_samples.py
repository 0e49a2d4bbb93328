"""How to use one version of a model, as commands and code that run as they stand: for its task, its name, its inputs.

A block of `sh` needs `bedplate` on the PATH; the one with curl needs URL and KEY as well. All leave their files in the
folder they run in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from bedplate_registry.models import ModelVersion
from bedplate_registry.store import ACTIVE
from bedplate_registry.tasks import get_task

__all__ = ["Sample", "brief", "endpoint_name", "samples"]

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,}=*")
ABOUT_ROWS = "`rows.jsonl` is the file above."
MOST_NAME = 32  # characters of an endpoint's name


@dataclass(frozen=True)
class Sample:
    """One block of code."""

    title: str
    language: str  # sh | python
    code: str
    about: str = ""


@dataclass(frozen=True)
class Example:
    """What a model can be asked: one input, parameters, and the same as a row of a file."""

    inputs: Any
    row: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def samples(version: ModelVersion, url: str) -> list[Sample]:
    """The samples of a version; none of an archived one, of which nothing new is made. `url` is this server's."""
    if version.state != ACTIVE:
        return []
    is_of_images = version.task == "image-classification"
    found = _image_samples(version, url) if is_of_images else _scoring_samples(version, url)
    return [*found, *(_finetune(version, task) for task in version.facts.finetunable_tasks)]


def brief(value: Any) -> Any:
    """A sample as it can be looked at: a word stands for each image."""
    if isinstance(value, Mapping):
        return {key: brief(item) for key, item in value.items()}
    if isinstance(value, list):
        return [brief(item) for item in value]
    return "(an image)" if isinstance(value, str) and _BASE64.fullmatch(value) else value


def endpoint_name(version: ModelVersion) -> str:
    """A name for an endpoint, made of the model's: lower-case letters, digits and dashes, 3 to 32 of them."""
    name = re.sub(r"[^a-z0-9]+", "-", version.name.name.lower()).strip("-")
    name = name if name[:1].isalpha() and len(name) >= 3 else f"model-{name}"
    return name[:MOST_NAME].rstrip("-")


def _example(version: ModelVersion) -> Example:
    """By the input that it was checked with, where that is a text: it has the model's own mask, its languages."""
    asked = (version.sample or {}).get("request")
    texts = asked if isinstance(asked, dict) else {}
    languages = {key: texts[key] for key in ("src_lang", "tgt_lang") if isinstance(texts.get(key), str)}
    text = asked if isinstance(asked, str) else None
    match version.task:
        case "token-classification":
            text = text or "My name is Sarah and I live in London."
            return Example(text, {"tokens": text.rstrip(".").split()})
        case "question-answering":
            question = {"question": "Where do I live?", "context": "My name is Sarah and I live in London."}
            return Example(question, question)
        case "fill-mask":
            text = text or "Paris is the [MASK] of France."
            return Example(text, {"text": text}, {"top_k": 3})
        case "summarization":
            text = text or "The shop was closed for two days after the storm. It opens again on Monday."
            return Example(text, {"document": text})
        case "translation":
            text = text or "My card is lost, please help."
            return Example(text, {"source": text}, languages)
        case "text-generation":
            text = text or "Once upon a time"
            return Example(text, {"prompt": text}, {"max_new_tokens": 20})
        case "text-to-image":
            return Example("a red house", {"prompt": "a red house"}, {"seed": 7})
    text = text or "Hello, where is my order?"
    return Example(text, {"sentence1": text}, {"top_k": min(3, max(1, len(version.facts.labels)))})


def _scoring_samples(version: ModelVersion, url: str) -> list[Sample]:
    if version.task is None:
        return []
    example, name, ref = _example(version), endpoint_name(version), version.ref
    is_drawn = version.task == "text-to-image"
    looks_plain = isinstance(example.inputs, str) and example.inputs[:1] not in ("[", "{", '"')
    text = example.inputs if looks_plain else _json(example.inputs)
    sets = "".join(f" --set {quote(f'{key}={value}')}" for key, value in example.parameters.items())
    output = " --output image.png" if is_drawn else ""
    body = _json({"inputs": example.inputs, **({"parameters": example.parameters} if example.parameters else {})})
    arguments = "".join(f", {key}={_json(value)}" for key, value in example.parameters.items())
    score = f"endpoint.score({_json(example.inputs)}{arguments})"
    shown = f'Path("image.png").write_bytes({score})' if is_drawn else f"print({score})"
    return [
        Sample(
            "Deploy and score",
            "sh",
            f"bedplate deploy {ref} --endpoint {name}\nbedplate score {name} --input {quote(text)}{sets}{output}",
        ),
        _curl(url, name, f"-d {quote(body)}{output}"),
        Sample(
            "Score a file",
            "sh",
            f"printf '%s\\n' {quote(_json(example.row))} > rows.jsonl\n"
            f"bedplate batch {ref} --input rows.jsonl --output scored.jsonl{sets}",
            _columns(version),
        ),
        Sample("Python", "python", _python(version, shown, example, needs_path=is_drawn), ABOUT_ROWS),
    ]


def _image_samples(version: ModelVersion, url: str) -> list[Sample]:
    """A picture goes over the wire as it is, and into files of rows as base64."""
    name, ref = endpoint_name(version), version.ref
    score = 'print(endpoint.score(base64.b64encode(Path("photo.png").read_bytes()).decode()))'
    return [
        Sample(
            "Deploy and score",
            "sh",
            f"bedplate deploy {ref} --endpoint {name}\n"
            f"base64 -w0 photo.png > photo.txt\nbedplate score {name} --file photo.txt",
            "`photo.png` is a picture of yours.",
        ),
        _curl(url, name, "--data-binary @photo.png"),
        Sample(
            "Score a file",
            "sh",
            'printf \'{"image": "%s"}\\n\' "$(base64 -w0 photo.png)" > rows.jsonl\n'
            f"bedplate batch {ref} --input rows.jsonl --output scored.jsonl",
            _columns(version),
        ),
        Sample("Python", "python", _python(version, score, None, needs_path=True), ABOUT_ROWS),
    ]


def _curl(url: str, name: str, data: str) -> Sample:
    """Without a Content-Type: the server takes any."""
    return Sample(
        "curl",
        "sh",
        f'curl -s "$URL/endpoints/{name}" -H "Authorization: Bearer $KEY" {data}',
        f"`URL` is the server, as in `{url}`, and `KEY` a key that may score: `bedplate deploy` shows one when it "
        "makes the endpoint, and `bedplate keys create NAME --scope infer` makes others.",
    )


def _python(version: ModelVersion, score: str, example: Example | None, *, needs_path: bool) -> str:
    head = ["import base64"] if example is None else []
    head += ["from pathlib import Path"] if needs_path else []
    given = f", parameters={_json(example.parameters)}" if example and example.parameters else ""
    lines = [
        *head,
        *([""] if head else []),
        "import bedplate",
        "",
        "ws = bedplate.connect()",
        f'endpoint = ws.deploy("{version.ref}", endpoint="{endpoint_name(version)}")',
        score,
        f'ws.batch("{version.ref}", input="rows.jsonl", output="scored.jsonl"{given}).wait()',
    ]
    return "\n".join(lines)


def _finetune(version: ModelVersion, task: str) -> Sample:
    output = f"{version.name.name[:80].rstrip('.-')}-tuned"
    keys = ", ".join(f"`{key.name}`" for key in get_task(task).keys if key.required)
    return Sample(
        f"Fine-tune for {task}",
        "sh",
        f"bedplate finetune {version.ref} --task {task} --train train.jsonl --output {output}",
        f"`train.jsonl` is a file of yours with the columns {keys}; other names: `--map key=column`.",
    )


def _columns(version: ModelVersion) -> str:
    keys = ", ".join(f"`{key.name}`" for key in get_task(str(version.task)).inputs if key.required)
    return f"Other columns than {keys}: `--map key=column`."


def _json(value: Any) -> str:
    """As JSON, which is Python too for texts, numbers, lists and objects."""
    return json.dumps(value, ensure_ascii=False)
