"""Pipelines of diffusers: of the many files of a repository the right ones are taken, and code is not run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.hub import HubFile, HubModel
from bedplate_registry.importing import plan_import, prepare_folder_import, prepare_hub_import
from bedplate_registry.inspection import check_architecture, inspect_folder
from bedplate_registry.models import ModelDraft, ModelFacts
from bedplate_registry.names import Name
from bedplate_registry.pipelines import read_pipeline
from bedplate_registry.registry import Registry

Serve = Callable[..., Any]
Bytes = Callable[..., bytes]
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
SDXL = [
    *("README.md", "LICENSE.md", "model_index.json", "01.png", "sd_xl_base_1.0.safetensors", "config.json"),
    *("scheduler/scheduler_config.json", "tokenizer/merges.txt", "tokenizer/vocab.json"),
    *("tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json"),
    *("text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors"),
    *("text_encoder/model.onnx", "text_encoder/flax_model.msgpack", "text_encoder/pytorch_model.bin"),
    *("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"),
    *("unet/diffusion_pytorch_model.fp16.safetensors", "unet/model.onnx_data", "unet/my_unet.py"),
    *("vae_decoder/config.json", "vae_decoder/model.onnx", "unet/deeper/diffusion_pytorch_model.safetensors"),
]


@pytest.fixture
def make_pipeline(tmp_path: Path, safetensors_bytes: Bytes) -> Callable[..., Path]:
    def make(index: Mapping[str, Any] | None = None, name: str = "pipeline") -> Path:
        folder = tmp_path / name
        for part in ("scheduler", "text_encoder", "tokenizer", "unet"):
            (folder / part).mkdir(parents=True)
        (folder / "model_index.json").write_text(json.dumps(INDEX | dict(index or {})))
        (folder / "README.md").write_text("---\nlicense: Apache-2.0\n---\n# A painter\n")
        (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "PNDMScheduler"}')
        (folder / "tokenizer" / "vocab.json").write_text("{}")
        (folder / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 77}')
        for part, stem in (("text_encoder", "model"), ("unet", "diffusion_pytorch_model")):
            (folder / part / "config.json").write_text('{"_diffusers_version": "0.42.1"}')
            weights = safetensors_bytes({"down.weight": ("F16", (4, 5)), "ids": ("I64", (3,))})
            (folder / part / f"{stem}.safetensors").write_bytes(weights)
        return folder

    return make


def chosen(*paths: str) -> list[str]:
    files = tuple(HubFile(path, 10, "0" * 40) for path in paths)
    return [file.path for file in plan_import(HubModel("org/name", "0" * 40, files)).files]


def test_of_many_formats_of_every_part_the_full_precision_safetensors_are_taken() -> None:
    assert chosen(*SDXL) == sorted(
        [
            *("LICENSE.md", "README.md", "model_index.json", "scheduler/scheduler_config.json"),
            *("text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/merges.txt"),
            *("tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json"),
            *("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae_decoder/config.json"),
        ]
    )


def test_half_precision_is_taken_where_there_is_no_other() -> None:
    unet = ["unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin", "unet/config.json"]
    assert unet[0] in chosen("model_index.json", *unet)


@pytest.mark.parametrize("dot", ["", ".fp16"])
def test_shards_come_with_their_index_and_all_of_them(dot: str) -> None:
    shards = [f"transformer/diffusion_pytorch_model{dot}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = f"transformer/diffusion_pytorch_model.safetensors.index{dot}.json"
    paths = ["model_index.json", "transformer/config.json", "transformer/other.safetensors.index.json", index]
    assert chosen(*paths, *shards) == sorted({"model_index.json", "transformer/config.json", index, *shards})
    with pytest.raises(Refused, match="incomplete: 1 of 2 files"):
        chosen(*paths, shards[0])


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "pytorch_model.bin"])
def test_a_part_with_pickles_alone_is_refused_by_name(name: str) -> None:
    with pytest.raises(Refused, match=f"only unet/{name}") as caught:
        chosen("model_index.json", "vae/config.json", "vae/model.safetensors", "unet/config.json", f"unet/{name}")
    assert caught.value.code == "pickle-weights" and "DiffusionPipeline" in caught.value.hint


def test_an_index_without_any_weights_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        chosen("model_index.json", "unet/config.json", "unet/model.onnx")
    assert caught.value.code == "onnx-weights"


def test_a_model_of_transformers_that_also_has_an_index_stays_one() -> None:
    assert "model.safetensors" in chosen("config.json", "model.safetensors", "model_index.json")


def test_facts_are_those_of_all_parts(make_pipeline: Callable[..., Path]) -> None:
    facts = inspect_folder(make_pipeline())
    assert (facts.task, facts.architecture, facts.model_type) == (
        "text-to-image",
        "StableDiffusionPipeline",
        "diffusers",
    )
    assert (facts.parameters, facts.dtype, facts.context_length, facts.license) == (40, "float16", 77, "apache-2.0")
    assert facts.labels == () and facts.finetunable_tasks == ()


def test_the_variant_that_is_there_is_the_one_to_load(make_pipeline: Callable[..., Path]) -> None:
    folder = make_pipeline()
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    parts = {part.name: part for part in read_pipeline(folder).parts}
    assert (parts["unet"].stem, parts["unet"].variant) == ("diffusion_pytorch_model", "fp16")
    assert (parts["text_encoder"].stem, parts["text_encoder"].variant) == ("model", None)
    assert parts["tokenizer"].stem is None and "safety_checker" not in parts
    assert inspect_folder(folder).parameters == 40


@pytest.mark.parametrize(
    "name",
    [
        *("StableDiffusionInpaintPipeline", "StableDiffusionImg2ImgPipeline", "StableVideoDiffusionPipeline"),
        *("StableAudioPipeline", "KandinskyV22PriorPipeline", "FluxControlNetPipeline", "UNet2DConditionModel"),
    ],
)
def test_pipelines_that_make_no_image_of_a_prompt_are_refused(make_pipeline: Callable[..., Path], name: str) -> None:
    with pytest.raises(Refused, match=f"The model is a {name}") as caught:
        check_architecture(make_pipeline({"_class_name": name}), None)
    assert caught.value.code == "no-head"


def test_another_task_than_text_to_image_is_refused(make_pipeline: Callable[..., Path]) -> None:
    folder = make_pipeline()
    check_architecture(folder, "text-to-image")
    with pytest.raises(Refused, match="no head for image-classification") as caught:
        check_architecture(folder, "image-classification")
    assert caught.value.code == "no-head"


@pytest.mark.parametrize(
    ("index", "code"),
    [
        ({"_class_name": ["my_pipeline", "MyPipeline"]}, "bad-config"),
        ({"_class_name": "../MyPipeline"}, "bad-config"),
        ({"_class_name": None}, "bad-config"),
        ({"unet": ["os.path", "Unet"]}, "remote-code"),
        ({"unet": ["onnxruntime.training", "ORTModule"]}, "remote-code"),
        ({"unet": ["../unet", "Unet"]}, "remote-code"),
        ({"unet": ["os", "system"]}, "remote-code"),
        ({"unet": ["diffusers", "DiffusionPipeline"]}, "remote-code"),
        ({"unet": ["diffusers"]}, "bad-config"),
        ({"unet": ["diffusers", None]}, "bad-config"),
        ({"unet": [["diffusers"], "UNet2DConditionModel"]}, "bad-config"),
        ({"../../etc": ["diffusers", "UNet2DConditionModel"]}, "bad-config"),
        ({"a/b": ["diffusers", "UNet2DConditionModel"]}, "bad-config"),
        ({"custom_pipelines": {"a": "b"}}, "remote-code"),
    ],
    ids=str,
)
def test_an_index_that_names_code_or_places_is_refused(
    make_pipeline: Callable[..., Path], index: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refused, match=r"model_index\.json") as caught:
        inspect_folder(make_pipeline(index))
    assert caught.value.code == code


def test_an_index_that_is_no_object_is_refused(make_pipeline: Callable[..., Path]) -> None:
    folder = make_pipeline()
    (folder / "model_index.json").write_text("[]")
    with pytest.raises(Refused, match="is list, not an object"):
        inspect_folder(folder)


def test_the_headers_of_every_part_are_checked(make_pipeline: Callable[..., Path]) -> None:
    folder = make_pipeline()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(Refused, match=r"unet/diffusion_pytorch_model\.safetensors is not a sound") as caught:
        inspect_folder(folder)
    assert caught.value.code == "bad-safetensors"


def test_a_part_whose_configuration_wants_code_is_refused(make_pipeline: Callable[..., Path]) -> None:
    folder = make_pipeline()
    (folder / "text_encoder" / "config.json").write_text('{"auto_map": {"AutoModel": "m.X"}}')
    with pytest.raises(Refused, match=r"text_encoder/config\.json") as caught:
        inspect_folder(folder)
    assert caught.value.code == "remote-code"


def check(folder: Path, facts: ModelFacts) -> dict[str, Any]:
    """Stands where the caged process will be."""
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    return {"request": {"prompt": "a house"}, "answer": {"seed": 0}}


def test_a_pipeline_is_imported_from_a_hub_and_from_a_folder_with_all_its_parts(
    registry: Registry, serve: Serve, make_pipeline: Callable[..., Path], recorder: Any
) -> None:
    folder = make_pipeline()
    (folder / "unet" / "my_unet.py").write_text("raise SystemExit")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    hub = serve(folder, model_id="acme/painter").hub
    drafts = (
        prepare_hub_import(registry, hub, "acme/painter", check=check, reporter=recorder),
        prepare_folder_import(registry, folder, name=Name.parse("painter"), check=check, reporter=recorder),
    )
    for draft in drafts:
        assert isinstance(draft, ModelDraft)
        version = registry.models.publish(draft)
        assert version.task == "text-to-image"
        view = registry.models.files_dir(version)
        found = {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()}
        assert found == {entry.path for entry in version.files}
        assert "unet/config.json" in found and not {path for path in found if path.endswith((".py", ".bin"))}
        assert inspect_folder(view).parameters == 40


def test_a_pipeline_of_another_kind_is_refused_before_the_weights_are_fetched(
    registry: Registry, serve: Serve, make_pipeline: Callable[..., Path], recorder: Any
) -> None:
    loopback = serve(make_pipeline({"_class_name": "StableDiffusionInpaintPipeline"}), model_id="acme/painter")
    with pytest.raises(Refused, match="StableDiffusionInpaintPipeline"):
        prepare_hub_import(registry, loopback.hub, "acme/painter", check=check, reporter=recorder)
    assert not [path for path, _ in loopback.faults.byte_requests if path.endswith(".safetensors")]
