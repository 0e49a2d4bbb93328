"""Which cards a torch was built for, and the remedy where it was not."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from bedplate.torch_wheel import TorchWheel, ask_torch, installed_wheel, wheel_knows
from bedplate_registry.errors import Unavailable

NEW_WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")


@pytest.mark.parametrize(
    ("capability", "architectures", "knows"),
    [
        ((7, 0), ("sm_70", "sm_75"), True),
        ((7, 0), NEW_WHEEL, False),
        ((8, 6), ("sm_80",), True),  # binaries run on later cards of their major version
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80",), False),
        ((12, 0), NEW_WHEEL, True),
        ((12, 1), NEW_WHEEL, True),
        ((9, 0), ("compute_80",), True),  # PTX is compiled for any later card
        ((7, 5), ("compute_80",), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100a",), False),
        ((10, 3), ("sm_100f",), True),
        ((10, 0), ("compute_90a",), False),
        ((7, 0), (), False),
        ((7, 0), ("gfx90a", "sm_"), False),
    ],
)
def test_a_wheel_knows_a_card_by_its_binaries_and_its_ptx(
    capability: tuple[int, int], architectures: tuple[str, ...], knows: bool
) -> None:
    assert wheel_knows(capability, architectures) is knows


def test_a_v100_with_a_wheel_for_newer_cards_is_told_which_wheel_to_take() -> None:
    found = TorchWheel("2.13.0+cu130", "13.0", NEW_WHEEL).problem_with((7, 0))
    assert found is not None
    problem, remedy = found
    assert "sm_70" in problem
    assert "2.13.0+cu130" in problem
    assert "https://download.pytorch.org/whl/cu126" in remedy


def test_a_card_newer_than_the_wheel_is_sent_to_newer_wheels() -> None:
    found = TorchWheel("2.11.0+cu126", "12.6", ("sm_70", "sm_90")).problem_with((12, 0))
    assert found is not None
    assert "https://download.pytorch.org/whl/cu130" in found[1]


def test_a_wheel_that_knows_the_card_or_does_not_tell_is_no_problem() -> None:
    assert TorchWheel("2.13.0", "13.0", ("sm_80",)).problem_with((8, 6)) is None
    assert TorchWheel("2.13.0", "13.0", ()).problem_with((7, 0)) is None


def test_a_wheel_for_cpus_is_a_problem_for_every_card() -> None:
    found = TorchWheel("2.13.0+cpu", None, ()).problem_with((8, 0))
    assert found is not None
    assert "CPUs only" in found[0]


def test_torch_itself_is_asked_once_a_version(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    asked = installed_wheel(tmp_path)
    assert asked.version.startswith(importlib.metadata.version("torch"))
    cache = tmp_path / "run" / "torch-wheel.json"
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({**kept, "architectures": ["sm_70"], "cuda": "12.6"}))
    assert installed_wheel(tmp_path).architectures == ("sm_70",)
    cache.write_text(json.dumps({**kept, "installed": "0.1", "architectures": ["sm_10"]}))
    assert installed_wheel(tmp_path) == asked


@pytest.mark.parametrize("answer", ["", "print([])\n", "print('{}')\n", "print('{')\n"])
def test_a_torch_that_does_not_answer_as_asked_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    (tmp_path / "torch.py").write_text(f"import os, sys\n{answer}sys.stdout.flush()\nos._exit(0)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(Unavailable, match="did not tell"):
        ask_torch()
