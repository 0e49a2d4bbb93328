"""Pickles become safetensors as data alone; what is more than tensors is refused by name, and nothing of it is run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bedplate.workers.conversion import convert_weights
from bedplate_registry.errors import Refused
from bedplate_registry.gc import collect
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_registry.weights import read_weights
from bedplate_serving.predictors import convert as converting
from bedplate_serving.predictors.check import main as check_main
from bedplate_serving.predictors.convert import convert
from bedplate_serving.testing import tiny_masked_lm, tiny_text_classifier

NAME = "pytorch_model.bin"
ONES = {"a.weight": torch.ones(2, 2)}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "made").mkdir()
    return tmp_path


def pickled(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder as a pickle in place of safetensors; what they were."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / NAME)
    return weights


def bring(registry: Registry, folder: Path, task: str) -> ModelVersion:
    """Import and publish, as a job does; the conversion runs in its cage."""

    def check(view: Path, facts: Any) -> dict[str, Any]:
        assert check_main([str(view), "--task", task]) == 0
        return {}

    draft = prepare_folder_import(
        registry,
        folder,
        name=Name.parse("acme/converted"),
        convert=lambda source, target: convert_weights(source, target, registry=registry.root),
        check=check,
        reporter=SILENT,
    )
    return registry.models.publish(draft)


def test_a_model_of_pickles_becomes_a_version_of_safetensors(tmp_path: Path) -> None:
    weights = pickled(tiny_text_classifier(tmp_path / "model", ("a", "b")))
    registry = Registry(tmp_path / "registry")
    version = bring(registry, tmp_path / "model", "text-classification")
    paths = [entry.path for entry in version.files]
    assert "model.safetensors" in paths and NAME not in paths
    made = load_file(registry.models.files_dir(version) / "model.safetensors")
    assert made.keys() == weights.keys() and all(torch.equal(made[name], weights[name]) for name in made)
    [source] = version.lineage["converted_from"]
    assert source["path"] == NAME and registry.blobs.has(source["sha256"])
    assert version.lineage["converted_with"]["torch"] == torch.__version__
    collect(registry, grace_seconds=-60)
    assert not registry.blobs.has(source["sha256"]), "the pickle is garbage"
    assert registry.models.verify(version.ref) == []


def test_weights_that_transformers_ties_again_are_kept_once(tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    folder = tmp_path / "model"
    tiny_masked_lm(folder)
    model = BertForMaskedLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / NAME)
    version = bring(Registry(tmp_path / "registry"), folder, "fill-mask")
    assert version.facts.parameters == sum(each.numel() for each in model.parameters())


def test_tensors_that_share_memory_are_written_apart(place: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"whole": whole, "again": whole, "row": whole[1], "turned": whole.T, "other": torch.ones(1)}
    torch.save({"state_dict": state, "epoch": 3}, place / NAME)
    convert(place, place / "made")
    made = load_file(place / "made" / "model.safetensors")
    assert made.keys() == state.keys() and all(torch.equal(made[name], state[name]) for name in made)


def test_shards_are_read_together_and_written_as_large_as_is_wished(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "MAX_SHARD_BYTES", 300)
    for number in (1, 2):
        torch.save({f"{number}.weight": torch.full((8, 8), number)}, place / f"pytorch_model-0000{number}-of-00002.bin")
    convert(place, place / "made")
    assert {tensor.name for tensor in read_weights(place / "made")} == {"1.weight", "2.weight"}
    assert json.loads((place / "made" / "model.safetensors.index.json").read_text())["weight_map"].keys() == {
        *("1.weight", "2.weight")
    }


class Hostile:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def saved(value: Any, **options: Any) -> Callable[[Path], None]:
    return lambda folder: torch.save(value, folder / NAME, **options)


def written(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / NAME).write_bytes(data) and None


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (lambda folder: torch.save({"a": Hostile(folder / "pwned")}, folder / NAME), "pickle-refused", "posix.system"),
        (
            lambda folder: (folder / NAME).write_bytes(pickle.dumps(Hostile(folder / "pwned"), protocol=2)),
            *("pickle-refused", "posix.system"),
        ),
        (written(b"\x80\x02cbuiltins\nexec\n(S'1'\ntR."), "pickle-refused", "exec"),
        (saved(torch.nn.Linear(2, 2)), "pickle-refused", "torch.nn.modules.linear.Linear"),
        (written(pickle.dumps({"a": 1}, protocol=4)), "bad-pickle", "weights alone"),
        (written(b""), "bad-pickle", "weights alone"),
        (written(b"PK\x03\x04" + bytes(100)), "bad-pickle", "weights alone"),
        (
            lambda folder: torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / NAME)),
            "bad-pickle",
            "weights alone",
        ),
        (saved([torch.ones(1)]), "bad-pickle", "holds a list"),
        (saved({"a": 1}), "bad-pickle", "holds a int under 'a'"),
        (saved({7: torch.ones(1)}), "bad-pickle", "under '7'"),
        (saved({"a": torch.ones(2, 2).to_sparse()}), "bad-pickle", "sparse"),
        (saved({"a": torch.empty(2, device="meta")}), "bad-pickle", "without data"),
        (saved({}), "bad-pickle", "no tensors"),
        (saved({"a": torch.zeros(1).expand(10**11)}), "bad-pickle", "tensors that would take 400000000000"),
        (saved({f"{n}": torch.zeros(1).expand(10**4) for n in range(9)}), "bad-pickle", "would take 360000"),
        (saved({"a": {"b": torch.ones(1)}}), "bad-pickle", "holds a dict under 'a'"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_pickle_that_is_more_than_weights_is_refused_and_not_run(
    place: Path, make: Callable[[Path], None], code: str, said: str
) -> None:
    make(place)
    with pytest.raises(Refused) as caught:
        convert(place, place / "made")
    assert caught.value.code == code and said in caught.value.message and caught.value.hint
    assert "weights_only" not in caught.value.message
    assert not (place / "pwned").exists() and not [*(place / "made").iterdir()]


def test_a_tensor_in_two_files_is_refused(place: Path) -> None:
    for number in (1, 2):
        torch.save(ONES, place / f"pytorch_model-0000{number}-of-00002.bin")
    with pytest.raises(Refused, match="another file holds as well"):
        convert(place, place / "made")


def test_the_child_in_its_cage_says_what_it_refused_and_changes_only_its_folder(tmp_path: Path) -> None:
    registry, source, target = tmp_path / "registry", tmp_path / "registry" / "in", tmp_path / "registry" / "out"
    for folder in (source, target):
        folder.mkdir(parents=True)
    (source / "config.json").write_text("{}")
    torch.save({"a": Hostile(tmp_path / "pwned")}, source / NAME)
    with pytest.raises(Refused, match=r"posix\.system") as caught:
        convert_weights(source, target, registry=registry)
    assert caught.value.code == "pickle-refused" and not (tmp_path / "pwned").exists()
