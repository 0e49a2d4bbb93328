"""What is looked at of a model that is not here: the starts of its files, laid out as its own, and the Hub's word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from .errors import Refused
from .hub import HubFile, HubModel
from .inspection import DTYPES
from .models import ModelFacts
from .plans import Listed
from .registry import Registry
from .staging import staged
from .tasks import architecture_of, finetunable_tasks, task_of
from .texts import one_line

__all__ = ["files_to_read", "folder_of_starts", "lay_out", "said_facts"]

MOST_SMALL_BYTES = 1 << 20  # of a JSON file or a card
MOST_INDEX_BYTES = 16 << 20
MOST_SMALL_FILES, MOST_HEADERS = 100, 256
INDEX = ".safetensors.index"

_one_reads = Lock()  # strangers' files, which take memory


def files_to_read(chosen: Sequence[HubFile]) -> list[HubFile]:
    """Those that are read: small files, and the headers where they are not too many."""
    small = [file for file in chosen if _is_read(file)][:MOST_SMALL_FILES]
    weights = [file for file in chosen if file.path.endswith(".safetensors")]
    return small + (weights if len(weights) <= MOST_HEADERS else [])


def _is_read(file: HubFile) -> bool:
    if file.path.endswith(".json"):
        return file.size_bytes <= (MOST_INDEX_BYTES if INDEX in file.path else MOST_SMALL_BYTES)
    return file.path == "README.md" and file.size_bytes <= MOST_SMALL_BYTES


@contextmanager
def folder_of_starts(registry: Registry, starts: Mapping[str, bytes], sizes: Mapping[str, int]) -> Iterator[Path]:
    """Files by their starts, laid out for a while."""
    with _one_reads, staged(registry) as folder:
        lay_out(folder, starts, sizes)
        yield folder


def lay_out(folder: Path, starts: Mapping[str, bytes], sizes: Mapping[str, int]) -> None:
    """Each file with its start, as long as it is: the rest is a hole, which takes no room."""
    for path, data in starts.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # it may be a link into the store
        with place.open("wb") as file:
            file.write(data)
            try:
                file.truncate(sizes[path])
            except (OSError, OverflowError):
                raise Refused(
                    f"The Hub lists {path} with {sizes[path]} bytes.", hint="No file is that large.", code="bad-size"
                ) from None


def said_facts(
    model: HubModel, said: Mapping[str, Any], files: Iterable[Listed], task: str | None
) -> tuple[ModelFacts | None, Mapping[str, Any]]:
    """What the Hub itself says; None where it does not even tell how large the model is."""
    config = _mapping(said.get("config"))
    counts = _counts(_mapping(_mapping(said.get("safetensors")).get("parameters")))
    weights = sum(file.size_bytes for file in files if file.path.endswith((".safetensors", ".bin")))
    parameters = sum(counts.values()) or weights // 4
    if not parameters:
        return None, config
    dtype = counts.most_common(1)[0][0] if counts else "F32"
    model_type = config.get("model_type")
    model_type = one_line(model_type) if isinstance(model_type, str) else None
    return ModelFacts(
        task=task or task_of(config, model.pipeline_tag),
        architecture=architecture_of(config),
        model_type=model_type,
        parameters=parameters,
        dtype=DTYPES.get(dtype, dtype.lower()),
        size_bytes=sum(file.size_bytes for file in files),
        license=model.license,
        languages=model.languages,
        finetunable_tasks=finetunable_tasks(model_type),
    ), config


def _counts(said: Mapping[str, Any]) -> Counter[str]:
    """Parameters by the name of their type."""
    return Counter(
        {one_line(str(name), 20): count for name, count in said.items() if type(count) is int and 0 < count < 1 << 50}
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
