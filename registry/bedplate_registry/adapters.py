"""Adapters alone: what adapter_config.json says, which version here is the base, and what the two are together.

A version keeps the delta, `adapter/adapter_config.json` and `adapter/adapter_model.safetensors`, and names its base in
its lineage. Where the head is the adapter's and not the base's, a config.json that says so lies over the base's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import BedplateError, Refused
from .models import ModelDraft, Models, ModelVersion
from .names import Name
from .plans import ADAPTER_FILES
from .safe_json import read_json
from .safetensors_header import Tensor
from .tasks import TASKS, architecture_of, task_of

__all__ = [
    "AdapterConfig",
    "adapted_config",
    "check_base",
    "choose_base",
    "find_base",
    "kept_path",
    "no_base",
    "no_head",
    "not_an_adapter",
    "read_adapter_config",
]

CONFIG = "adapter_config.json"
OURS = ("bedplate_", "task_specific_params")  # how a model is asked, as it was trained
_PREFIX = "base_model.model."  # of every name in the weights
_HOMES = {PurePosixPath(path).name: path for path in ADAPTER_FILES}
_CLASS_END = re.compile(r"(?:For[A-Z]\w+|(?:With)?LMHeadModel|Model)$")
MAX_LABELS = 100_000
_CLASSIFIERS = frozenset(("text-classification", "token-classification", "image-classification"))
# The last layer of a classifier: its rows are the labels.
_LAST_LAYERS = re.compile(
    r"(?:.*\.)?(?:classifier|classifier\.1|classifier\.out_proj|score|classification_head\.out_proj|logits_proj)\.weight"
)


@dataclass(frozen=True)
class Kind:
    """What PEFT calls a task: how the class ends that has its head, and what it is here."""

    class_end: str | None  # None: the head is the base's, and no adapter brings it
    tasks: tuple[str, ...]


KINDS = {
    "SEQ_CLS": Kind("ForSequenceClassification", ("text-classification",)),
    "TOKEN_CLS": Kind("ForTokenClassification", ("token-classification",)),
    "QUESTION_ANS": Kind("ForQuestionAnswering", ("question-answering",)),
    "CAUSAL_LM": Kind(None, ("text-generation",)),
    "SEQ_2_SEQ_LM": Kind(None, ("summarization", "translation")),
    "FEATURE_EXTRACTION": Kind("Model", ()),
}


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter says of itself."""

    base: str  # as it stands there: a MODEL_ID, or a path of the machine it was trained on
    revision: str | None
    kind: Kind | None  # None where it does not say: then it has the head of its base
    labels: Mapping[str, Any]  # id2label and its kin, of a config.json beside it
    ours: Mapping[str, Any] = field(default_factory=dict)  # what a fine-tune wrote there, by keys that begin so

    @property
    def base_id(self) -> str | None:
        """The MODEL_ID of its base, if it is one."""
        try:
            return str(Name.parse(self.base))
        except Refused:
            return None


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Reads adapter_config.json. Raises Refused (bad-adapter) for what is no LoRA; its settings the loader checks."""
    raw = read_json(folder / CONFIG, CONFIG)
    if not isinstance(raw, dict):
        raise _bad("is not an object")
    if raw.get("peft_type") != "LORA":
        raise _bad(f"has the peft_type {str(raw.get('peft_type'))[:40]!r}; only LORA is taken")
    name = raw.get("task_type")
    if name is not None and name not in KINDS:
        raise _bad(f"has the task_type {str(name)[:40]!r}; known are {', '.join(KINDS)}")
    base, revision = raw.get("base_model_name_or_path"), raw.get("revision")
    for value in (base, revision):
        if value is not None and not isinstance(value, str):
            raise _bad(f"names its base wrongly ({str(value)[:80]})")
    own = read_json(folder / "config.json", "config.json") if (folder / "config.json").is_file() else {}
    labels = {key: own[key] for key in ("id2label", "label2id", "problem_type") if key in own} if own else {}
    ours = {key: value for key, value in (own or {}).items() if key.startswith(OURS)}
    commit = None if revision == "main" else revision or None
    return AdapterConfig(base or "", commit, KINDS.get(name or ""), labels, ours)


def kept_path(path: str) -> str:
    """Where a file of an adapter is kept in its version."""
    return _HOMES.get(path, path)


def find_base(models: Models, base_id: str, commit: str | None) -> ModelVersion | None:
    """The newest active version that came from a Hub under this id (at this commit, if given) or has this name."""
    came = [each for each in models.of_source(base_id) if commit in (None, each.source.commit)]
    named = [] if commit else models.readable(Name.parse(base_id))
    for found in (came, named):
        able = [each for each in found if each.state == "active" and not _has_adapter(each)]
        if able:
            return able[-1]
    return None


def choose_base(models: Models, config: AdapterConfig, commit: str | None, given: str | None) -> ModelVersion | None:
    """The version that an adapter is laid over: the one that is `given`, else that it names; None if it is not here.

    Raises Refused (no-base, bad-base), NotFound for a given one, Conflict where it is archived, and Unavailable where
    it is not whole.
    """
    if given is not None:
        found: ModelVersion | None = models.get(given)
    elif config.base_id is None:
        raise no_base(config)
    else:
        found = find_base(models, config.base_id, commit)
    if found is not None:
        check_base(found)
        models.check_sound(found)
    return found


def check_base(version: ModelDraft) -> None:
    """Raises Refused where no adapter can be laid over it, Conflict where it is archived."""
    if isinstance(version, ModelVersion):
        version.check_active()
    if _has_adapter(version):
        raise Refused(
            f"{version.name} is an adapter, or a model with one, and cannot be the base of another.",
            hint="Merge it into its base where it was trained (merge_and_unload), and import the result.",
            code="bad-base",
        )
    if version.facts.model_type == "diffusers":
        raise Refused(
            f"{version.name} is a pipeline of diffusers, over which no adapter of PEFT is laid.",
            hint="Give the base that adapter_config.json names: --base REF",
            code="bad-base",
        )


def no_base(config: AdapterConfig, why: str = "") -> Refused:
    """That the base of an adapter is not to be had here."""
    shown = repr(config.base[:200]) if config.base else "nothing"
    at = f" at the revision {config.revision[:60]!r}" if config.revision else ""
    missing = f"it names {shown}, which is no MODEL_ID" if config.base_id is None else f"there is no {shown}{at} here"
    first = f"bedplate import {config.base_id or 'MODEL_ID'}"
    return Refused(
        f"The model is an adapter without its base: {why or missing}.",
        hint=f"Import the base ({first}), then the adapter with --base REF, where REF is what the base is called here.",
        code="no-base",
    )


def not_an_adapter() -> Refused:
    """That a base was given for a model that needs none."""
    return Refused("The model is no adapter: it is laid over no base.", hint="Leave --base out.", code="not-an-adapter")


def no_head(config: AdapterConfig) -> Refused:
    """That the head for an adapter's task is nowhere."""
    tasks = config.kind.tasks if config.kind else ()
    return Refused(
        f"The adapter is for {' or '.join(tasks)}, and neither it nor its base has the head for that.",
        hint="Save it with its head (modules_to_save), or give the base that has one: --base REF",
        code="no-head",
    )


def adapted_config(config: AdapterConfig, base: Mapping[str, Any], tensors: Sequence[Tensor]) -> bytes | None:
    """The config.json of the two together, or None where it is the base's own. Raises Refused: no-head."""
    changed = {**base, **config.ours}
    kind, architecture = config.kind, architecture_of(base)
    fits = kind is None or (any(TASKS[task].fits(architecture) for task in kind.tasks) if kind.tasks else False)
    if kind is not None and not fits:
        if kind.class_end is None or architecture is None:
            raise Refused(
                f"The adapter is for {' or '.join(kind.tasks)}, and its base ({architecture}) has no head for that.",
                hint="Give the base it was trained on: --base REF",
                code="no-head",
            )
        if kind.tasks and not any(_is_of_head(each.name, kind.tasks[0]) for each in tensors):
            raise no_head(config)
        architecture = _CLASS_END.sub("", architecture) + kind.class_end
        changed["architectures"] = [architecture]
    task = kind.tasks[0] if kind and kind.tasks else task_of(changed)
    rows = _rows(tensors) if task in _CLASSIFIERS else None
    if rows is not None and (not fits or rows != _label_count(base) or config.labels):
        changed = {key: value for key, value in changed.items() if key not in ("num_labels", "_num_labels")}
        changed |= _labels(config.labels, rows)
    return json.dumps(changed, indent=2).encode() if changed != base else None


def _is_of_head(name: str, task: str) -> bool:
    """Whether a tensor is a part of the head, and no change of one that must be there."""
    return "lora_" not in name and any(f".{part}" in f".{name}" for part in TASKS[task].head_tensors)


def _rows(tensors: Iterable[Tensor]) -> int | None:
    """How many labels the adapter's own head tells apart; None where it brings none."""
    names = ((each.name.removeprefix(_PREFIX).replace("modules_to_save.default.", ""), each) for each in tensors)
    rows = next((each.shape[0] for name, each in names if _LAST_LAYERS.fullmatch(name) and each.shape), None)
    if rows is not None and not 0 < rows <= MAX_LABELS:
        raise _bad(f"comes with a head of {rows} labels")
    return rows


def _label_count(config: Mapping[str, Any]) -> int:
    given, count = config.get("id2label"), config.get("num_labels", config.get("_num_labels", 2))
    return len(given) if isinstance(given, dict) and given else count if isinstance(count, int) else 0


def _labels(said: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The labels beside the adapter, or numbered ones. Raises Refused where they are not as many as its head has."""
    names = said.get("id2label")
    if isinstance(names, dict) and names:
        if len(names) != rows:
            raise Refused(
                f"config.json beside the adapter names {len(names)} labels, and the adapter's head has {rows}.",
                hint="Fix it in a copy of the adapter, and import that with --from DIR.",
                code="bad-config",
            )
        return dict(said)
    numbered = [f"LABEL_{number}" for number in range(rows)]
    return {"id2label": dict(enumerate(numbered)), "label2id": {name: number for number, name in enumerate(numbered)}}


def _has_adapter(model: ModelDraft) -> bool:
    return any(entry.path in ADAPTER_FILES for entry in model.files)


def _bad(what: str) -> BedplateError:
    return Refused(
        f"{CONFIG} {what}.",
        hint="Merge the adapter into its base where it was trained (merge_and_unload), and import the result.",
        code="bad-adapter",
    )
