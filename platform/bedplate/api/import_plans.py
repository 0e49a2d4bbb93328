"""/api/v1/import-plans: what an import would take and bring, before it is asked for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import Answer, RequestBody, json_answer
from bedplate.api.problems import codes
from bedplate.import_plans import plan_import

__all__ = ["routes"]

routes = Routes("/api/v1/import-plans", "jobs")
CPU: JsonDict = {"size_bytes": 1601741824, "assumed": ["weights in float32", "a fifth for a batch"]}
GPU: JsonDict = {"size_bytes": 1337741824, "assumed": ["weights in bf16 or fp16", "a fifth for a batch"]}
TRAINED: JsonDict = {"size_bytes": 2995273728, "assumed": ["AdamW, 16 bytes a parameter", "1 row of 512 tokens"]}
EXAMPLE: JsonDict = {
    "model_id": "google-bert/bert-base-uncased",
    "commit": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "hub": "https://huggingface.co",
    "name": "google-bert/bert-base-uncased",
    "task": "fill-mask",
    "architecture": "BertForMaskedLM",
    "model_type": "bert",
    "parameters": 110106428,
    "dtype": "float32",
    "context_length": 512,
    "finetunable_tasks": ["text-classification", "token-classification", "question-answering"],
    "is_exact": True,
    "gated": False,
    "here": None,
    "base": None,
    "license": {"id": "apache-2.0", "decision": "allowed", "message": ""},
    "files": [{"path": "model.safetensors", "size_bytes": 440449768, "here": False}],
    "size_bytes": 440449768,
    "fetch_bytes": 440449768,
    "free_bytes": 107374182400,
    "fits": True,
    "estimate": {
        "parameters": 110106428,
        "serve_cpu": CPU,
        "serve_gpu": GPU,
        "finetune_full": TRAINED,
        "finetune_lora": TRAINED,
        "cache_token_bytes": None,
    },
    "recommendation": {
        "device": "cuda",
        "precision": "fp16",
        "method": "full",
        "batch_size": 64,
        "tokens": 512,
        "memory_bytes": 25176956928,
        "reasons": ["compute capability 7.0"],
    },
    "problem": None,
}


class NewImportPlan(RequestBody):
    """What would be imported, as a job of the kind `import` takes it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model_id": "google-bert/bert-base-uncased"}]})

    model_id: Annotated[str, Field(description="As the Hub has it, org/name.")]
    revision: Annotated[str | None, Field(description="A commit, tag or branch of the Hub.")] = None
    hub: Annotated[str | None, Field(description="The URL of another Hub. It gets no token.")] = None
    name: Annotated[str | None, Field(description="What it would be called here.")] = None
    task: Annotated[str | None, Field(description="Where its files do not tell.")] = None
    base: Annotated[str | None, Field(description="Of an adapter: the version here that it is laid over.")] = None
    accept_license: bool | None = None
    convert_weights: Annotated[bool | None, Field(description="Plan to convert weights that are pickles.")] = None


class PlannedFile(Answer):
    """A file that would be kept."""

    path: str
    size_bytes: int
    here: Annotated[bool, Field(description="It is here already, and is not fetched.")]


class PlannedBase(Answer):
    """The base of an adapter: a version that is here, or a model of the Hub that is imported first."""

    source: Annotated[str, Field(description="The MODEL_ID, or what else it was made from.")]
    here: Annotated[str | None, Field(description="The version; null where it is fetched.")]
    commit: str | None
    license: str
    size_bytes: int
    fetch_bytes: int


class LicenseDecision(Answer):
    """What the policy of the server says of its license."""

    id: Annotated[str, Field(description="SPDX, several with commas; `unknown` for none.")]
    decision: Annotated[Literal["allowed", "ask", "denied"] | None, Field(description="ask: give `accept_license`.")]
    message: str


class Memory(Answer):
    """So many bytes, and what was assumed."""

    size_bytes: int
    assumed: list[str]


class Estimate(Answer):
    """Memory of the host (serve_cpu) or of one card; fine-tunes are those of one row at a time."""

    parameters: int
    serve_cpu: Memory
    serve_gpu: Memory
    finetune_full: Memory | None
    finetune_lora: Memory | None
    cache_token_bytes: Annotated[int | None, Field(description="Of one token of a text that is written, at 16 bit.")]


class Recommendation(Answer):
    """How to fine-tune it on the devices of this machine; null where nothing fits."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bf16", "fp16", "fp32"]
    method: Literal["full", "lora"] | None
    batch_size: Annotated[int | None, Field(description="Of each device.")]
    tokens: Annotated[int, Field(description="Of each row.")]
    memory_bytes: Annotated[int | None, Field(description="What it takes of each device.")]
    reasons: list[str]


class PlanProblem(Answer):
    """What the import would be refused with."""

    code: str
    message: str
    hint: str


class ImportPlan(Answer):
    """What an import would do. Facts are null where nothing could be learned."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    model_id: str | None
    commit: str | None
    hub: str | None
    name: str
    task: Annotated[str | None, Field(description="null: a base, to be fine-tuned.")]
    architecture: str | None
    model_type: str | None
    parameters: int | None
    dtype: str | None
    context_length: int | None
    finetunable_tasks: list[str]
    is_exact: Annotated[bool, Field(description="false: as the Hub says, or reckoned from the size of its files.")]
    gated: Annotated[bool, Field(description="Its owner grants access to each reader.")]
    here: Annotated[str | None, Field(description="The version that was made of this commit.")]
    base: Annotated[PlannedBase | None, Field(description="Of an adapter: what it is laid over.")]
    license: LicenseDecision
    files: list[PlannedFile]
    size_bytes: int
    fetch_bytes: Annotated[int, Field(description="Without what is here already.")]
    free_bytes: Annotated[int | None, Field(description="On the disk of the home.")]
    fits: bool | None
    estimate: Estimate | None
    recommendation: Recommendation | None
    problem: PlanProblem | None


@routes.route(
    "POST",
    "",
    "import",
    response_model=ImportPlan,
    responses=codes(
        "offline",
        "no-connection",
        "token",
        "busy",
        "bad-name",
        "bad-revision",
        "unknown-task",
        "own-hub",
        "bad-hub",
        "private-address",
    ),
)
def make_import_plan(workspace: WorkspaceOf, body: NewImportPlan) -> Response:
    """Say what an import would take and bring. Small files of the model are read; nothing is kept or started."""
    request: dict[str, Any] = body.model_dump(exclude_none=True)
    return json_answer(plan_import(workspace.context, request))
