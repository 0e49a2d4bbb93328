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
from .models import ModelFacts
from .plans import ADAPTER_FILES
from .safe_json import check_config, read_json
from .safetensors_header import Tensor, read_header
from .tasks import TASKS, Task, architecture_of, finetunable_tasks, get_task, task_of

__all__ = ["check_architecture", "check_configs", "inspect_folder", "read_config"]

# Vocabularies are data for the tokenizer, large, and may repeat what they like.
_VOCABULARIES = frozenset(("tokenizer.json", "vocab.json", "merges.json", "added_tokens.json"))
_CLASSIFIERS = ("text-classification", "token-classification", "image-classification")
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I8": "int8", "U8": "uint8"}
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
    architecture, and a model without a usable head is a base. `card` is what the Hub says; README.md fills the gaps.
    """
    check_configs(folder)
    config = read_config(folder)
    tensors = _read_weights(folder) + _read_adapter(folder)
    said = _merged(card or CardFacts(), read_card(folder / "README.md"))
    task = _decide(config, pipeline_tag or said.pipeline_tag, tensors, task)
    model_type = config.get("model_type")
    return ModelFacts(
        task=task,
        architecture=architecture_of(config),
        model_type=model_type if isinstance(model_type, str) else None,
        parameters=sum(tensor.elements for tensor in tensors if tensor.dtype not in _BUFFERS),
        dtype=_dtype(tensors),
        size_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        license=said.license,
        labels=_labels(config) if task in _CLASSIFIERS else (),
        context_length=_context_length(folder, config),
        languages=said.languages,
        finetunable_tasks=finetunable_tasks(model_type),
    )


def check_configs(folder: Path) -> None:
    """Refuse what no JSON file of a model may hold. Needs no weights: called before they are fetched, too."""
    for path in sorted(folder.rglob("*.json")):
        if path.name not in _VOCABULARIES and path.is_file():
            name = path.relative_to(folder).as_posix()
            check_config(read_json(path, name), name, internal_keys=path.name == "config.json")


def check_architecture(folder: Path, task: str | None) -> None:
    """Refuse a task that the architecture in config.json has no head for. Needs no weights either."""
    config = read_config(folder)
    if task is not None:
        _refuse_architecture(config, get_task(task))


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
    return config


def _read_weights(folder: Path) -> list[Tensor]:
    """All tensors, from one file or from the shards that the index names."""
    single = folder / "model.safetensors"
    if single.is_file():
        return read_header(single, single.name)
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        raise Refused("The model has no model.safetensors.", hint="Save it with save_pretrained.", code="no-weights")
    weight_map = read_json(index, index.name)
    weight_map = weight_map.get("weight_map") if isinstance(weight_map, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise _bad_index("has no weight_map")
    return _read_shards(folder, weight_map)


def _read_adapter(folder: Path) -> list[Tensor]:
    """The tensors of the adapter: a head may be among them."""
    path = folder / ADAPTER_FILES[1]
    return read_header(path, ADAPTER_FILES[1]) if path.is_file() else []


def _read_shards(folder: Path, weight_map: Mapping[str, str]) -> list[Tensor]:
    known = {path.name for path in folder.glob("*.safetensors")}
    found: list[Tensor] = []
    for shard in sorted(set(weight_map.values())):
        if shard not in known:
            raise _bad_index(f"names the file {shard[:80]!r}, which is not there")
        tensors = read_header(folder / shard, shard)
        stray = [tensor.name for tensor in tensors if weight_map.get(tensor.name) != shard]
        if stray:
            raise _bad_index(f"does not place the tensor {stray[0][:80]!r} of {shard}")
        found.extend(tensors)
    if lost := set(weight_map) - {tensor.name for tensor in found}:
        raise _bad_index(f"places the tensor {min(lost)[:80]!r}, which no file has")
    return found


def _decide(config: Mapping[str, Any], tag: str | None, tensors: Iterable[Tensor], asked: str | None) -> str | None:
    if asked is not None:
        task = get_task(asked)
        _refuse_architecture(config, task)
        if not _has_head(task, tensors):
            raise _no_head(config, asked, f"its weights hold none of a {architecture_of(config)}")
        return asked
    found = task_of(config, tag)
    return found if found and _has_head(TASKS[found], tensors) else None


def _refuse_architecture(config: Mapping[str, Any], task: Task) -> None:
    architecture = architecture_of(config)
    if not task.fits(architecture):
        why = f"its architecture is {architecture}" if architecture else "config.json names no architecture"
        raise _no_head(config, task.name, why)


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
    return _DTYPES.get(top[0][0], top[0][0].lower()) if top else "none"


def _merged(first: CardFacts, second: CardFacts) -> CardFacts:
    return CardFacts(
        license=first.license or second.license,
        languages=first.languages or second.languages,
        pipeline_tag=first.pipeline_tag or second.pipeline_tag,
    )


def _bad_index(what: str) -> Refused:
    return Refused(
        f"model.safetensors.index.json {what}.",
        hint="Get the files again from where the model came from.",
        code="bad-safetensors",
    )


def _bad_labels(what: str) -> Refused:
    return Refused(f"id2label in config.json {what}.", hint="Fix it in a copy of the model.", code="bad-config")
