"""Reading the JSON files of a model that nobody vouches for.

Duplicate keys (the last would win silently), code to be fetched or run, internal switches of the loading library, and
files too large or too deep to be a configuration are refused by name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import Refused

__all__ = ["MAX_VALUES", "check_config", "count_values", "load_json", "read_json"]

# The index of a model in hundreds of shards is the largest there is, at some 10 MiB.
MAX_CONFIG_BYTES = 32 << 20
# The headers of a hundred thousand tensors are the most that is read. A million values take some 100 MB, and a second.
MAX_VALUES = 1_000_000
_MARKS = (b"[", b"{", b",")  # there is one before each value, so none can be there that is not counted
_MOST_PATH = 200  # characters
# Keys that make a loader run code from the model's repository, at any depth and in any case.
_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code", "custom_generate")
# Names the file the weights are read from, whatever its format: what was checked here would not be what is loaded.
_WEIGHTS_KEY = "transformers_weights"
# Underscore keys that saved configurations are known to hold and that change nothing when they are read.
_HARMLESS = frozenset(
    ("_name_or_path", "_class_name", "_diffusers_version", "_num_labels", "_attn_implementation_autoset")
)
# With or without the underscore these choose the code that computes; any other value names a repository to run.
_IMPLEMENTATIONS = frozenset(
    f"{start}{kind}_implementation{end}"
    for start in ("", "_")
    for kind in ("attn", "experts")
    for end in ("", "_internal")
)
_KNOWN_IMPLEMENTATIONS = frozenset(
    (*("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"), "batched_mm", "grouped_mm")
)


def read_json(path: Path, name: str) -> Any:
    """The value of a JSON file, which messages call `name`."""
    if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
        raise _bad(name, f"has {size} bytes", "A configuration is smaller than 32 MiB.")
    return load_json(path.read_bytes(), name)


def load_json(data: bytes, name: str) -> Any:
    """The value that `data` spells, or Refused: not JSON, a key twice in one object, not a finite number, too deep, or
    more than a million values."""
    if count_values(data) > MAX_VALUES:
        raise _bad(name, f"has more than {MAX_VALUES:,} values", "A configuration has some thousands.")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Pairs(name), parse_constant=_no_constant)
    except RecursionError:
        raise _bad(name, "is nested too deep", "A configuration is a few levels deep.") from None
    except ValueError as exc:
        raise _bad(name, f"is not JSON ({exc})", "Get the file again from where the model came from.") from None


def count_values(data: bytes) -> int:
    """At least as many as JSON has values, without reading it: what it can take to read it."""
    return 1 + sum(data.count(mark) for mark in _MARKS)


def check_config(value: Any, name: str, *, internal_keys: bool = True) -> None:
    """Refuse keys that would make the loader run code or read other weights, and (in config.json) internal switches."""
    for path, key, item in _keys(value):
        lowered = key.lower()
        if any(word in lowered for word in _CODE_KEYS) and not _is_adapters_own(key, item):
            raise _remote_code(name, path)
        if lowered == _WEIGHTS_KEY:
            raise _other_weights(name, path)
        if lowered in _IMPLEMENTATIONS:
            if item is not None and (not isinstance(item, str) or item not in _KNOWN_IMPLEMENTATIONS):
                raise _remote_code(name, path)
        elif internal_keys and key.startswith("_") and key not in _HARMLESS and item is not None:
            raise Refused(
                f"{name} has the internal key {path!r}, which changes how the model is loaded.",
                hint="Ask the model's author, or take the key out of a copy and import that with --from DIR.",
                code="internal-key",
            )


def _is_adapters_own(key: str, item: Any) -> bool:
    """Whether it is PEFT's note of the class of an adapter's base: null, or one of transformers. Nothing reads it."""
    if key != "auto_mapping" or item is None:
        return key == "auto_mapping"
    library = item.get("parent_library") if isinstance(item, dict) else None
    return isinstance(library, str) and library.startswith("transformers.models.")


class _Pairs:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise Refused(
                f"{self.name} has the key {twice[:80]!r} twice in one object.",
                hint="Readers differ in which one they take. Fix a copy and import that with --from DIR.",
                code="duplicate-key",
            )
        return found


def _keys(value: Any) -> Iterator[tuple[str, str, Any]]:
    """Every key at any depth: the end of its path, itself, its value. No recursion: depth is the file's to choose."""
    waiting = [("", value)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                here = _cut(f"{path}.{_cut(key)}" if path else key)
                yield here, key, item
                if isinstance(item, dict | list):
                    waiting.append((here, item))
        elif isinstance(value, list):
            numbered = ((number, item) for number, item in enumerate(value) if isinstance(item, dict | list))
            waiting.extend((_cut(f"{path}[{number}]"), item) for number, item in numbered)


def _cut(path: str) -> str:
    return path[-_MOST_PATH:]


def _remote_code(name: str, path: str) -> Refused:
    return Refused(
        f"{name} has the key {path!r}: this model needs code from a repository to run.",
        hint="Bedplate runs no code from a model's repository. Choose a model that transformers knows itself.",
        code="remote-code",
    )


def _other_weights(name: str, path: str) -> Refused:
    return Refused(
        f"{name} has the key {path!r}, which has the weights read from a file of the model's own choosing.",
        hint="Take the key out of a copy whose weights are model.safetensors, and import that with --from DIR.",
        code="other-weights",
    )


def _no_constant(text: str) -> Any:
    # Python's reader takes NaN and Infinity, which JSON does not have and no size or rate should be.
    raise ValueError(f"{text} is not a JSON number")


def _bad(name: str, what: str, hint: str) -> Refused:
    return Refused(f"{name} {what}.", hint=hint, code="bad-json")
