"""Tokenized rows kept beside the checkpoints, so that an attempt that goes on does not tokenize again.

<work_dir>/tokens/<digest>.npz      of each list of tokens all of them in one array, and how many each row has

The digest is of all that they were made of: the tokenizer, the rows, the settings that matter and the libraries. A file
is disposable: a damaged one is made again. Few rows are tokenized in less time than it takes to think about it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_registry import durable
from bedplate_registry.errors import BedplateError
from bedplate_registry.progress import Reporter

from .encoding import Tokens, Vector, library_tokenizer
from .launch import rank

__all__ = ["FEWEST_ROWS", "TokenCache"]

FEWEST_ROWS = 10_000  # 1 s for short texts, 5 s for tagged words, 12 s for questions
MOST_FILES = 4  # training and validation rows, of this run and one before it in the same folder
MOST_BYTES = 2 << 30


class TokenCache:
    """The tokens of one run: `keep` is an encoding.Keep. `tokenizer` is of transformers; what it is set to is read when
    rows are asked for. Fewer than `fewest` rows are not kept.
    """

    def __init__(self, work_dir: Path, tokenizer: Any, reporter: Reporter, fewest: int = FEWEST_ROWS) -> None:
        self._folder, self._tokenizer, self._reporter = work_dir / "tokens", tokenizer, reporter
        self._fewest = fewest

    def keep(self, rows: Sequence[object], about: Sequence[object], make: Callable[[], Tokens]) -> Tokens:
        """The tokens of `rows` as they were kept, or else as `make` makes them, which are then kept.

        `about` is all else that they depend on. Both are told apart by their `repr`.
        """
        if len(rows) < self._fewest or not getattr(self._tokenizer, "is_fast", False):
            return make()
        path = self._folder / f"{self._digest(rows, about)}.npz"
        found = self._read(path)
        if found is None:
            found = make()
            if rank() == 0:
                self._keep(path, found)
        return found

    def _digest(self, rows: Sequence[object], about: Sequence[object]) -> str:
        languages = [getattr(self._tokenizer, name, None) for name in ("src_lang", "tgt_lang")]
        libraries = [version(name) for name in ("tokenizers", "transformers")]
        digest = hashlib.sha256(repr((list(about), languages, libraries, type(self._tokenizer))).encode())
        digest.update(library_tokenizer(self._tokenizer).to_str().encode())
        for row in rows:
            digest.update(repr(row).encode())
        return digest.hexdigest()

    def _read(self, path: Path) -> Tokens | None:
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                names = [name.removeprefix("flat/") for name in file.files if name.startswith("flat/")]
                return {name: _parted(file[f"flat/{name}"], file[f"counts/{name}"]) for name in names}
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            self._reporter.message(f"The tokenized rows in {path.name} are damaged, and made again: {error}")
            return None

    def _keep(self, path: Path, tokens: Tokens) -> None:
        """No room for them is no reason to stop."""
        arrays: dict[str, Vector] = {}
        for name, lists in tokens.items():
            arrays[f"flat/{name}"] = np.concatenate(lists)
            arrays[f"counts/{name}"] = np.fromiter(map(len, lists), dtype=np.int32)
        if sum(array.nbytes for array in arrays.values()) > MOST_BYTES:
            return
        data = io.BytesIO()
        np.savez(data, allow_pickle=False, **arrays)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in sorted(self._folder.glob("*.npz"), key=lambda one: one.stat().st_mtime)[: 1 - MOST_FILES]:
                old.unlink(missing_ok=True)
            durable.write_bytes(path, data.getvalue())
        except (OSError, BedplateError) as error:
            self._reporter.message(f"The tokenized rows are not kept for another attempt: {error}")


def _parted(flat: Vector, counts: Vector) -> list[Vector]:
    if int(counts.sum()) != len(flat):
        raise ValueError(f"{len(flat)} tokens where there should be {int(counts.sum())}")
    return np.split(flat, np.cumsum(counts)[:-1])
