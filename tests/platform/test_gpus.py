"""GPUs are counted by their device files, as CUDA_VISIBLE_DEVICES narrows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedplate.gpus import pick_device, visible_gpus


@pytest.fixture
def two_gpus(tmp_path: Path) -> Path:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({}, 2),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2"}, 2),
    ],
)
def test_what_a_worker_would_see_is_counted(two_gpus: Path, environ: dict[str, str], count: int) -> None:
    assert visible_gpus(environ, two_gpus) == count


def test_a_machine_without_cards_has_none(tmp_path: Path) -> None:
    assert visible_gpus({}, tmp_path) == 0


def test_a_device_that_was_named_stays(two_gpus: Path) -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("cuda") == "cuda"
