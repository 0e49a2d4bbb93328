"""Secrets that must not lie about: looked for in every file of every home that the suite makes.

Keys by their form, the home's loopback token, and the HF_TOKEN that tests/conftest.py sets for all. `run/token` is
where the token belongs, and the registry holds the bytes of models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["HF_TOKEN", "check_no_secrets", "homes_below"]

HF_TOKEN = "hf_canaryCanaryCanaryCanaryCanaryCan"
KEY = re.compile(rb"bp_[A-Za-z0-9_-]{43}")
LARGEST_BYTES = 64 << 20


def check_no_secrets(home: Path) -> None:
    """Fails, naming file and kind, where a file of the home holds a secret in the clear."""
    found = [f"{path.relative_to(home)} holds {kind}" for path, kind in _secrets(home)]
    assert not found, f"secrets in {home}: {'; '.join(sorted(set(found)))}"


def homes_below(folder: Path) -> Iterator[Path]:
    """Every folder that is a home, by its token or its database."""
    for mark in ("run/token", "bedplate.db"):
        for path in folder.rglob(mark):
            yield path.parent.parent if mark == "run/token" else path.parent


def _secrets(home: Path) -> Iterator[tuple[Path, str]]:
    token_file = home / "run" / "token"
    token = token_file.read_bytes().strip() if token_file.exists() else b""
    for path in _files(home):
        try:
            data = path.read_bytes()
        except OSError:  # a socket, or a file that has just gone
            continue
        if KEY.search(data):
            yield path, "a key"
        if HF_TOKEN.encode() in data:
            yield path, "HF_TOKEN"
        if token and path != token_file and token in data:
            yield path, "the loopback token"


def _files(home: Path) -> Iterator[Path]:
    for top in sorted(home.iterdir()):
        for path in [top] if top.is_file() else top.rglob("*") if top.name != "registry" else []:
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_BYTES:
                yield path
