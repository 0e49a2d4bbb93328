"""What a model is, read from its files: task, head, architecture, parameters, labels. No torch, nothing is loaded.

Everything a loader would later trust is checked here first: every JSON file, every safetensors header, the shard index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .cards import CardFacts, read_card
from .errors import Refused
from .licenses import license_of
from .models import ModelFacts
from .pipelines import Pipeline, is_pipeline, pipeline_tensors, prompt_length, read_pipeline
from .plans import ADAPTER_FILES
from .safe_json import check_config, read_json
from .safetensors_header import Tensor, read_header
from .tasks import TASKS, Task, architecture_of, contradicts, finetunable_tasks, get_task, task_of
from .texts import one_line
from .timm_models import check_timm, is_timm, timm_labels
from .weights import read_weights

__all__ = ["DTYPES", "check_architecture", "check_configs", "inspect_folder", "read_config"]

# Vocabularies are data for the tokenizer, large, and may repeat what they like.
_VOCABULARIES = frozenset(("tokenizer.json", "vocab.json", "merges.json", "added_tokens.json"))
_CLASSIFIERS = ("text-classification", "token-classification", "image-classification")
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I8": "int8", "U8": "uint8"}
# Integer and truth tensors of these types are position ids and masks, not parameters.
_BUFFERS = frozenset(("I64", "BOOL"))
# These families keep two rows of their position table for padding.
_OFFSET_POSITIONS = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_source_positions", "max_seq_len", "seq_length")
_MAX_LABELS = 100_000


def inspect_folder(
    folder: Path, *, task: str | None = None, pipeline_tag: str | None = None, card: CardFacts | None = None
) -> ModelFacts:
    """The facts of the model in `folder` (files or links), or Refused naming what is wrong.

    `task` is what the user asked for: the head must be there. Without it the task follows from the Hub's tag and the
    architecture, which may not contradict each other, and a model without a usable head is a base. `card` is what the
    Hub says; README.md fills the gaps, and where the two name different licenses the model has both.
    """
    check_configs(folder)
    said = _merged(card or CardFacts(), read_card(folder / "README.md"))
    if _is_pipeline(folder):
        return _pipeline_facts(folder, task, said)
    config = read_config(folder)
    tensors = read_weights(folder) + _read_adapter(folder)
    # An adapter's card tells of what it adds, and config.json of its base.
    tag = None if (folder / ADAPTER_FILES[0]).is_file() else pipeline_tag or said.pipeline_tag
    task = _decide(config, tag, tensors, task)
    model_type = "timm_wrapper" if is_timm(config) else config.get("model_type")
    return ModelFacts(
        task=task,
        architecture=architecture_of(config),
        model_type=one_line(model_type) if isinstance(model_type, str) else None,
        parameters=_count(tensors),
        dtype=_dtype(tensors),
        size_bytes=_size_bytes(folder),
        license=said.license,
        labels=_labels(config) if task in _CLASSIFIERS else (),
        context_length=_context_length(folder, config),
        languages=said.languages,
        finetunable_tasks=finetunable_tasks(model_type),
        library=_library(folder, config),
        **_origin(said),
    )


def check_configs(folder: Path) -> None:
    """Refuse what no JSON file of a model may hold. Needs no weights: called before they are fetched, too."""
    for path in sorted(folder.rglob("*.json")):
        if path.name not in _VOCABULARIES and path.is_file():
            name = path.relative_to(folder).as_posix()
            check_config(read_json(path, name), name, internal_keys=path.name == "config.json")


def check_architecture(folder: Path, task: str | None, tag: str | None = None) -> None:
    """Refuse a task that the architecture has no head for, and one that is not loaded here. Needs no weights either.

    Where no task was asked for, so is a `tag` of the Hub that names another task than the architecture.
    """
    if _is_pipeline(folder):
        _pipeline_config(folder, task)
        return
    config = read_config(folder)
    if task is not None:
        _refuse_architecture(config, get_task(task))
    else:
        _refuse_contradiction(config, tag)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model."""
    path = folder / "config.json"
    if not path.is_file():
        raise Refused(
            "The model has no config.json.",
            hint="Bedplate imports models in the layout of transformers: config.json beside *.safetensors.",
            code="no-config",
        )
    config = read_json(path, "config.json")
    if not isinstance(config, dict):
        raise Refused("config.json is not an object.", hint="Get the file again.", code="bad-json")
    if is_timm(config):
        check_timm(config)
    return config


def _is_pipeline(folder: Path) -> bool:
    return is_pipeline([path.name for path in folder.iterdir()])


def _pipeline_config(folder: Path, asked: str | None) -> Pipeline:
    """What the pipeline in `folder` is; Refused where it is not for the task that was asked for."""
    pipeline = read_pipeline(folder)
    if asked is not None:
        _refuse_architecture({"architectures": [pipeline.class_name]}, get_task(asked))
    return pipeline


def _pipeline_facts(folder: Path, asked: str | None, said: CardFacts) -> ModelFacts:
    pipeline = _pipeline_config(folder, asked)
    tensors = pipeline_tensors(folder, pipeline)
    return ModelFacts(
        task="text-to-image",
        architecture=pipeline.class_name,
        model_type="diffusers",
        parameters=_count(tensors),
        dtype=_dtype(tensors),
        size_bytes=_size_bytes(folder),
        license=said.license,
        context_length=prompt_length(folder, pipeline),
        languages=said.languages,
        library="diffusers",
        **_origin(said),
    )


def _library(folder: Path, config: Mapping[str, Any]) -> str:
    """What reads its files."""
    if (folder / ADAPTER_FILES[0]).is_file():
        return "peft"
    return "timm" if is_timm(config) else "transformers"


def _origin(said: CardFacts) -> dict[str, Any]:
    return {"author": said.author, "datasets": said.datasets, "base_model": said.base_model}


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.elements for tensor in tensors if tensor.dtype not in _BUFFERS)


def _read_adapter(folder: Path) -> list[Tensor]:
    """The tensors of the adapter: a head may be among them."""
    path = folder / ADAPTER_FILES[1]
    return read_header(path, ADAPTER_FILES[1]) if path.is_file() else []


def _decide(config: Mapping[str, Any], tag: str | None, tensors: Iterable[Tensor], asked: str | None) -> str | None:
    if asked is not None:
        task = get_task(asked)
        _refuse_architecture(config, task)
        if not _has_head(task, tensors):
            raise _no_head(config, asked, f"its weights hold none of a {architecture_of(config)}")
        return asked
    found = task_of(config, tag)
    if found is None or not _has_head(TASKS[found], tensors):
        return None
    _refuse_contradiction(config, tag)
    return found


def _refuse_architecture(config: Mapping[str, Any], task: Task) -> None:
    architecture = architecture_of(config)
    if not task.fits(architecture):
        why = f"its architecture is {architecture}" if architecture else "config.json names no architecture"
        raise _no_head(config, task.name, why)


def _refuse_contradiction(config: Mapping[str, Any], tag: str | None) -> None:
    if (task := contradicts(tag, config)) is not None:
        raise Refused(
            f"The model is tagged {tag}, but its architecture {architecture_of(config)} is one for {task}.",
            hint=f'Where the architecture is right, say so: --task {task} (REST: "task": "{task}").',
            code="task-contradiction",
        )


def _has_head(task: Task, tensors: Iterable[Tensor]) -> bool:
    """Whether the weights hold the head. Without it the loader would make one of random numbers, and say nothing."""
    # From the start of a part of the name: ELECTRA's discriminator_predictions.… are no predictions of words.
    names = (f".{tensor.name}" for tensor in tensors)
    return not task.head_tensors or any(f".{part}" in name for name in names for part in task.head_tensors)


def _no_head(config: Mapping[str, Any], asked: str, why: str) -> Refused:
    is_base = asked in finetunable_tasks(config.get("model_type"))
    return Refused(
        f"The model has no head for {asked}: {why}.",
        hint=f"It may be a base: import it without --task, then fine-tune it for {asked}."
        if is_base
        else "Import it without --task to see what it can do.",
        code="no-head",
    )


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels in the order of the head's outputs, as transformers reads them."""
    if is_timm(config):
        return timm_labels(config)
    given = config.get("id2label")
    if isinstance(given, dict) and given:
        try:
            numbered = sorted((int(number), str(label)) for number, label in given.items())
        except ValueError:
            raise _bad_labels("has a key that is no number") from None
        if [number for number, _ in numbered] != list(range(len(numbered))):
            raise _bad_labels("does not count from 0 without gaps")
        return tuple(label for _, label in numbered)
    count = config.get("num_labels", config.get("_num_labels", 2))
    if not isinstance(count, int) or not 0 < count <= _MAX_LABELS:
        raise Refused(f"config.json has num_labels {count!r}.", hint="Fix a copy of the model.", code="bad-config")
    return tuple(f"LABEL_{number}" for number in range(count))


def _context_length(folder: Path, config: Mapping[str, Any]) -> int | None:
    """The longest input in tokens: by the position table, or by the tokenizer where that says less."""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    found = [text[key] for key in _LENGTH_KEYS if _is_length(text.get(key))] if isinstance(text, dict) else []
    if found and config.get("model_type") in _OFFSET_POSITIONS:
        padding = config.get("pad_token_id")
        found = [found[0] - (padding if isinstance(padding, int) else 1) - 1]
    path = folder / "tokenizer_config.json"
    tokenizer = read_json(path, path.name) if path.is_file() else {}
    length = tokenizer.get("model_max_length") if isinstance(tokenizer, dict) else None
    lengths = found[:1] + ([length] if isinstance(length, int) and _is_length(length) else [])
    return min(lengths) if lengths else None


def _is_length(value: Any) -> bool:
    # Tokenizers without a limit write 1e30.
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 40


def _dtype(tensors: Iterable[Tensor]) -> str:
    """The type that most parameters have."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype not in _BUFFERS:
            sizes[tensor.dtype] += tensor.elements
    top = sizes.most_common(1)
    return DTYPES.get(top[0][0], top[0][0].lower()) if top else "none"


def _merged(first: CardFacts, second: CardFacts) -> CardFacts:
    return CardFacts(
        license=license_of(first.license, second.license),
        languages=first.languages or second.languages,
        pipeline_tag=first.pipeline_tag or second.pipeline_tag,
        author=second.author or first.author,  # a Hub may know the organization only
        datasets=first.datasets or second.datasets,
        base_model=first.base_model or second.base_model,
    )


def _bad_labels(what: str) -> Refused:
    return Refused(f"id2label in config.json {what}.", hint="Fix it in a copy of the model.", code="bad-config")
