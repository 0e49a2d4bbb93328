"""A registry that is filled once, so that a test begins with its models imported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import bedplate
from harness import bedplate_home, run_cli

pytest.register_assert_rewrite("fine_tunes")


@pytest.fixture(scope="session")
def stock(models: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The registry folder of a home that imported `acme/tiny-encoder` and `acme/tiny-classifier`; give it a copy."""

    def fill(folder: Path) -> None:
        with bedplate_home() as home:
            with bedplate.connect(home=home) as ws:
                jobs = [
                    ws.submit_import_folder(models / name, f"acme/tiny-{name}") for name in ("encoder", "classifier")
                ]
                for job in jobs:
                    job.wait(timeout_seconds=240)
            run_cli("stop", home=home)
            shutil.copytree(home / "registry", folder / "registry", symlinks=True)

    return made_once("stock", fill) / "registry"
