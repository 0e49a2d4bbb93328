"""What /api/v1/models sends and takes: a version of a model, its lineage, what verification found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.bodies import Answer, RequestBody

__all__ = ["FileOfModel", "License", "Lineage", "Model", "Needs", "Reason", "SampleOfUse", "Verification", "Why"]

Why = Annotated[str | None, Field(max_length=2000, description="The reason, which is kept.")]
EXAMPLE: JsonDict = {
    "name": "support-intent",
    "ref": "support-intent:1",
    "version": 1,
    "created": "2026-11-24T08:00:00+00:00",
    "digest": "0" * 64,
    "state": "active",
    "aliases": {"production": 1},
    "task": "text-classification",
    "architecture": "BertForSequenceClassification",
    "model_type": "bert",
    "parameters": 22713216,
    "dtype": "float32",
    "size_bytes": 90900000,
    "license": "apache-2.0",
    "license_spdx": "Apache-2.0",
    "labels": ["card", "login", "refund"],
    "context_length": 512,
    "languages": ["en"],
    "finetunable_tasks": ["text-classification"],
    "author": None,
    "datasets": [],
    "base_model": [],
    "library": "transformers",
    "files": [{"path": "config.json", "size_bytes": 612, "sha256": "0" * 64}],
    "source": {"kind": "job", "id": "finetune-1a2b3c4d", "commit": None, "url": None},
    "lineage": {"base": "sentence-transformers/all-MiniLM-L6-v2:1"},
    "sample": {"inputs": "my card is lost", "answer": [{"label": "card", "score": 0.97}]},
}

LINEAGE: JsonDict = {
    "model": "support-intent:1",
    "source": EXAMPLE["source"],
    "lineage": EXAMPLE["lineage"],
    "parents": [
        {
            "ref": "sentence-transformers/all-MiniLM-L6-v2:1",
            "relation": "fine-tune",
            "state": "active",
            "task": None,
            "created": "2026-11-24T07:00:00+00:00",
        }
    ],
    "children": [],
    "evaluations": [
        {
            "id": "ev-20261124-080000-000000-1a2b3c",
            "created": "2026-11-24T08:00:00+00:00",
            "task": "text-classification",
            "data": "tickets:1",
            "split": "test",
            "metrics": {"accuracy": 0.94},
        }
    ],
    "deployments": [{"endpoint": "support", "deployment": "main", "traffic": 100}],
    "aliases": ["production"],
    "license_acceptances": [],
}


class FileOfModel(Answer):
    """One file of a model."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"path": "config.json", "size_bytes": 612, "sha256": "0" * 64}]}
    )

    path: str
    size_bytes: int
    sha256: str


class SampleOfUse(Answer):
    """One block of code that uses a version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "title": "Deploy and score",
                    "language": "sh",
                    "code": "bedplate deploy support-intent:1 --endpoint support-intent",
                    "about": "",
                }
            ]
        }
    )

    title: str
    language: Annotated[str, Field(description="sh or python.")]
    code: str
    about: Annotated[str, Field(description="What it needs, in Markdown.")]


class Source(Answer):
    """Where a model came from."""

    kind: Annotated[str, Field(description="hub, folder or job.")]
    id: Annotated[str, Field(description="The id at the Hub, the digest of the folder, or the job.")]
    commit: str | None
    url: str | None


class Model(Answer):
    """A version of a model. It never changes, but for what aliases mean and whether it is archived."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    ref: str
    version: int
    created: str
    digest: Annotated[str, Field(description="SHA-256 of its manifest.")]
    state: Annotated[Literal["active", "archived"], Field(description="An archived one is in no list of models.")]
    aliases: Annotated[dict[str, int], Field(description="Which versions of this name the aliases mean.")]
    task: Annotated[str | None, Field(description="null: a base, without a head.")]
    architecture: str | None
    model_type: str | None
    parameters: int
    dtype: str
    size_bytes: int
    license: Annotated[str | None, Field(description="As the Hub spells it; several with commas.")]
    license_spdx: Annotated[str | None, Field(description="The same as an SPDX expression.")]
    labels: list[str]
    context_length: int | None
    languages: list[str]
    finetunable_tasks: list[str]
    author: Annotated[str | None, Field(description="As the card says, else the owner on the Hub.")]
    datasets: Annotated[list[str], Field(description="Those that the card names.")]
    base_model: Annotated[list[str], Field(description="What the card says that it was made of.")]
    library: Annotated[str | None, Field(description="transformers, timm, diffusers or peft.")]
    files: list[FileOfModel]
    source: Source
    lineage: dict[str, Any]
    sample: Annotated[dict[str, Any] | None, Field(description="Request and answer of the check that loaded it.")]


class LicenseFile(Answer):
    """A text that came with a model."""

    path: str
    text: str


class License(Answer):
    """The license of a version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "support-intent:1",
                    "license": "apache-2.0",
                    "license_spdx": "Apache-2.0",
                    "files": [{"path": "LICENSE", "text": "Apache License, Version 2.0 …"}],
                }
            ]
        }
    )

    model: str
    license: str | None
    license_spdx: str | None
    files: Annotated[list[LicenseFile], Field(description="LICENSE and NOTICE, where they came with it.")]


class Memory(Answer):
    """So much memory, and what was assumed."""

    size_bytes: int
    assumed: list[str]


class Estimates(Answer):
    """What a version takes of memory: of the host for `serve_cpu`, of one card for the others."""

    parameters: int
    serve_cpu: Memory
    serve_gpu: Memory
    finetune_full: Annotated[Memory | None, Field(description="All weights, one row at a time.")]
    finetune_lora: Annotated[Memory | None, Field(description="LoRA, one row at a time.")]
    cache_token_bytes: Annotated[int | None, Field(description="Of one token of a text that is being written.")]


class Recommended(Answer):
    """How to fine-tune it on the devices that are here."""

    device: Annotated[str, Field(description="cuda or cpu.")]
    precision: Annotated[str, Field(description="bf16, fp16 or fp32.")]
    method: Annotated[str | None, Field(description="full or lora; null where nothing fits.")]
    batch_size: Annotated[int | None, Field(description="Rows on each device.")]
    tokens: Annotated[int, Field(description="Of one row.")]
    memory_bytes: Annotated[int | None, Field(description="What that takes of each device.")]
    reasons: list[str]


class Needs(Answer):
    """What a version takes, and what is recommended for this machine."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "support-intent:1",
                    "estimates": {
                        "parameters": 22713216,
                        "serve_cpu": {"size_bytes": 1182765260, "assumed": ["weights in float32"]},
                        "serve_gpu": {"size_bytes": 1128253541, "assumed": ["weights in bf16 or fp16"]},
                        "finetune_full": {"size_bytes": 1500000000, "assumed": ["AdamW, 16 bytes a parameter"]},
                        "finetune_lora": None,
                        "cache_token_bytes": None,
                    },
                    "recommended": {
                        "device": "cuda",
                        "precision": "bf16",
                        "method": "full",
                        "batch_size": 128,
                        "tokens": 512,
                        "memory_bytes": 21000000000,
                        "reasons": ["compute capability 9.0"],
                    },
                }
            ]
        }
    )

    model: str
    estimates: Estimates
    recommended: Recommended


class Relative(Answer):
    """A version that this one was made from, or that was made from it."""

    ref: str
    relation: Annotated[Literal["fine-tune", "adapter"], Field(description="How the younger of the two came about.")]
    state: Annotated[Literal["active", "archived", "missing"], Field(description="missing: it was deleted.")]
    task: str | None
    created: str | None


class MeasuredOn(Answer):
    """What an evaluation of it found."""

    id: str
    created: str
    task: str | None
    data: Annotated[str | None, Field(description="The dataset, or the name of the file.")]
    split: Annotated[str | None, Field(description="Which part of the data, where it was split.")]
    metrics: dict[str, Any]


class ServedBy(Answer):
    """A deployment of it."""

    endpoint: str
    deployment: str
    traffic: Annotated[int, Field(description="In percent.")]


class AcceptedBy(Answer):
    """That somebody accepted its license."""

    license: str
    source: Annotated[str, Field(description="The id of the source of what it was accepted for.")]
    by: str
    when: str
    where: Annotated[str, Field(description="For which import or endpoint.")]


class Lineage(Answer):
    """Where a version comes from, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [LINEAGE]})

    model: str
    source: Source
    lineage: Annotated[dict[str, Any], Field(description="Base, digests of data, settings, metrics, packages.")]
    parents: Annotated[list[Relative], Field(description="What it was made from, the nearest first.")]
    children: Annotated[list[Relative], Field(description="What was made from it directly.")]
    evaluations: Annotated[list[MeasuredOn], Field(description="The newest first.")]
    deployments: list[ServedBy]
    aliases: Annotated[list[str], Field(description="Those that mean it now.")]
    license_acceptances: Annotated[list[AcceptedBy], Field(description="Of this name, the oldest first.")]


class Verification(Answer):
    """What reading every byte found."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "support-intent:1", "problems": []}]})

    model: str
    problems: Annotated[
        list[str], Field(description="One sentence for each file that is missing or damaged, or for its manifest.")
    ]


class Reason(RequestBody):
    """Why it is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "replaced by a better one"}]})

    why: Why = None
