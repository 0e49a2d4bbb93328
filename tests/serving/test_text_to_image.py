"""A prompt becomes the image that diffusers' own pipeline makes of it, the same for a seed whoever else is waiting."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.inspection import inspect_folder
from bedplate_registry.models import ModelDraft, ModelFacts
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_serving.batching import Batcher
from bedplate_serving.predictors import BadItems, load_predictor
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.check import main as check_main
from bedplate_serving.predictors.image_pipeline import prompt_tokens
from bedplate_serving.predictors.text_to_image import TextToImage
from bedplate_serving.testing.images import tiny_diffusion, tiny_diffusion_xl

TASK = "text-to-image"
FEW: dict[str, Any] = {"num_inference_steps": 2}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_diffusion(tmp_path_factory.mktemp("diffusion") / "model")


@pytest.fixture(scope="session")
def painter(folder: Path) -> TextToImage:
    predictor = load_predictor(folder, TASK, device="cpu", threads=1)
    assert isinstance(predictor, TextToImage)
    return predictor


@pytest.fixture(scope="session")
def pipeline(folder: Path) -> Any:
    found = StableDiffusionPipeline.from_pretrained(folder)
    found.set_progress_bar_config(disable=True)
    return found


def pixels(answer: Any) -> Any:
    data = answer if isinstance(answer, bytes) else base64.b64decode(answer["image"])
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"guidance_scale": 1.5, "negative_prompt": "a dog"},
        {"width": 48, "height": 24},
        {"num_inference_steps": 4, "guidance_scale": 0},
    ],
    ids=str,
)
def test_pixels_equal_those_of_the_pipeline_called_directly(
    painter: TextToImage, pipeline: Any, parameters: dict[str, Any]
) -> None:
    settings = FEW | parameters
    generator = torch.Generator("cpu").manual_seed(7)
    expected = np.asarray(pipeline(prompt="a red house", generator=generator, **settings).images[0])
    [answer] = painter.predict(["a red house"], settings | {"seed": 7})
    assert np.array_equal(pixels(answer), expected)
    assert (answer["height"], answer["width"]) == expected.shape[:2]
    assert expected.std() > 5, "an image of one color would pass with anything"


def test_a_pipeline_with_two_text_encoders_gives_the_same_pixels_too(tmp_path: Path) -> None:
    folder = tiny_diffusion_xl(tmp_path / "xl")
    facts = inspect_folder(folder)
    assert (facts.task, facts.architecture, facts.context_length) == (TASK, "StableDiffusionXLPipeline", 77)
    direct = StableDiffusionXLPipeline.from_pretrained(folder)
    direct.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(7)
    given = FEW | {"negative_prompt": "a dog", "width": 24, "height": 32}
    expected = np.asarray(direct(prompt="a red house", generator=generator, **given).images[0])
    [answer] = load_predictor(folder, TASK, device="cpu", threads=1).predict(["a red house"], given | {"seed": 7})
    assert np.array_equal(pixels(answer), expected) and expected.std() > 5


def test_what_a_safety_checker_flags_is_black_and_says_so(tmp_path: Path) -> None:
    folder = tiny_diffusion(tmp_path / "m", flags_everything=True)
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPFeatureExtractor"]  # as the models of those days have it
    (folder / "model_index.json").write_text(json.dumps(index))
    painter = load_predictor(folder, TASK, device="cpu", threads=1)
    [answer] = painter.predict(["a cat"], FEW)
    assert answer["nsfw_content_detected"] is True and not pixels(answer).any()
    assert painter.azure_answer([answer], None)[0]["nsfw_content_detected"] is True


def test_another_scheduler_is_the_one_that_the_pipeline_would_use(painter: TextToImage, folder: Path) -> None:
    other = StableDiffusionPipeline.from_pretrained(folder)
    other.scheduler = DDIMScheduler.from_config(other.scheduler.config)
    other.set_progress_bar_config(disable=True)
    expected = np.asarray(other(prompt="a cat", generator=torch.Generator("cpu").manual_seed(3), **FEW).images[0])
    [default] = painter.predict(["a cat"], FEW | {"seed": 3})
    [chosen] = painter.predict(["a cat"], FEW | {"seed": 3, "scheduler": "DDIMScheduler"})
    [again] = painter.predict(["a cat"], FEW | {"seed": 3})
    assert np.array_equal(pixels(chosen), expected) and not np.array_equal(pixels(default), expected)
    assert again == default, "the scheduler of one request must not stay for the next"


def test_a_seed_gives_the_same_image_whatever_the_neighbors(painter: TextToImage) -> None:
    prompts = ["a house", "a cat on a chair", "a dog"]
    together = painter.predict(prompts, FEW | {"seed": 11})
    assert together == [painter.predict([prompt], FEW | {"seed": 11})[0] for prompt in prompts]
    orders = [painter.parse({"prompt": prompt, **FEW, "seed": 11}) for prompt in prompts]
    found: list[Any] = [None] * 3

    def draw(place: int) -> None:
        found[place] = painter.answer(painter.forward(painter.encode([orders[place]]))[0])

    threads = [threading.Thread(target=draw, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == together


def test_without_a_seed_each_image_is_another_and_says_its_seed(painter: TextToImage) -> None:
    first, second = painter.predict(["a cat", "a cat"], FEW)
    assert first["seed"] != second["seed"] and first["image"] != second["image"]
    assert painter.predict(["a cat"], FEW | {"seed": first["seed"]})[0] == first


def test_an_item_may_have_parameters_of_its_own(painter: TextToImage) -> None:
    items = [{"prompt": "a cat", "seed": 5, "width": 24, "height": 32}, "a cat", {"prompt": "a cat", "seed": 6}]
    own, shared, other = painter.predict(items, FEW | {"seed": 6})
    assert (own["seed"], own["width"], own["height"]) == (5, 24, 32)
    assert shared == other and shared["seed"] == 6


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"width": 100}, "width is 100; it must be a multiple of 8"),
        ({"height": 4096}, "height is 4096; it must be at most 2048"),
        ({"height": 0}, "height is 0"),
        ({"num_inference_steps": 151}, "num_inference_steps is 151; it must be at most 150"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": "20"}, "num_inference_steps is '20'"),
        ({"guidance_scale": -1}, "guidance_scale is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1 << 64}, "seed is"),
        ({"scheduler": "DDIMSchedular"}, "scheduler is 'DDIMSchedular'"),
        ({"scheduler": "../x"}, "scheduler is"),
        (
            {"num_inference_steps": 51, "width": 2048, "height": 2048},
            "num_inference_steps is 51 for an image of 2048 x 2048; of that size at most 50 are made",
        ),
        ({"num_inference_steps": 150, "width": 2048, "height": 1024}, "at most 100 are made"),
        ({"steps": 3}, "no parameter 'steps'"),
        ({"custom_pipeline": "x"}, "no parameter 'custom_pipeline'"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(painter: TextToImage, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        painter.parameters(parameters)
    with pytest.raises(ItemError, match=said):
        painter.parse({"prompt": "a cat", **parameters})


def test_the_nearest_scheduler_is_named(painter: TextToImage) -> None:
    with pytest.raises(Refused) as caught:
        painter.parameters({"scheduler": "DDIMSchedular"})
    assert "DDIMScheduler" in caught.value.hint


def test_every_fault_in_a_list_is_named_by_its_index(painter: TextToImage) -> None:
    items = ["", None, {"negative_prompt": "a dog"}, {"prompt": "a cat", "size": 3}, ["a"], "x" * 20_001]
    with pytest.raises(BadItems) as caught:
        painter.predict(["a cat", *items], FEW)
    assert [index for index, _ in caught.value.errors] == [1, 2, 3, 4, 5, 6]


def test_a_prompt_that_is_not_read_to_its_end_is_marked(painter: TextToImage) -> None:
    short, long = painter.encode([painter.parse("a cat"), painter.parse("a very big cat " * 20)])
    assert not short.truncated and long.truncated and painter.context_length == 77


def test_a_prompt_is_read_as_far_as_the_pipeline_asks_its_tokenizers_to() -> None:
    """SD3 and Flux read 256 and 512 tokens, though T5's tokenizer knows no limit."""

    class Transformer:
        def __init__(self, *most: int) -> None:
            self.components = {f"tokenizer_{i}": SimpleNamespace(model_max_length=one) for i, one in enumerate(most)}

        def __call__(self, prompt: str, max_sequence_length: int = 256) -> None: ...

    assert [prompt_tokens(Transformer(*most)) for most in ((77, 10**30), (77, 512), (77,), ())] == [256, 256, 77, 256]


def test_images_are_made_one_at_a_time(painter: TextToImage) -> None:
    """So that who waits for one image does not wait for those behind it."""

    async def score() -> tuple[int, int]:
        batcher = Batcher(painter)
        batcher.start()
        await batcher.submit([painter.parse(prompt, painter.parameters(FEW)) for prompt in ("a cat", "a dog", "a cow")])
        await batcher.stop()
        return batcher.items_done, batcher.batches_done

    assert asyncio.run(score()) == (3, 3)


def test_an_image_whose_caller_leaves_the_queue_is_not_drawn_to_its_end(painter: TextToImage) -> None:
    begun, steps = threading.Event(), []

    def step(*_: Any) -> None:
        steps.append(1)
        begun.set()

    async def leave() -> None:
        batcher = Batcher(painter)
        batcher.start()
        asked = batcher.submit([painter.parse("a cat", painter.parameters({"num_inference_steps": 150}))])
        caller = asyncio.create_task(asked)
        await asyncio.to_thread(begun.wait, 60)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await batcher.stop()

    watch = painter._pipeline.unet.register_forward_hook(step)
    try:
        asyncio.run(leave())
    finally:
        watch.remove()
    assert 0 < len(steps) < 150


def test_an_image_that_nobody_waits_for_is_not_drawn_to_its_end(painter: TextToImage, folder: Path) -> None:
    [expected] = painter.predict(["a cat"], FEW | {"seed": 3})
    [encoded] = painter.encode([painter.parse("a cat", painter.parameters({"num_inference_steps": 100}))])
    steps: list[int] = []

    def step(*_: Any) -> None:
        steps.append(1)
        if len(steps) == 3:
            encoded.abandon()

    watch = painter._pipeline.unet.register_forward_hook(step)
    try:
        for _ in range(2):
            with pytest.raises(BedplateError, match="Nobody waits") as caught:
                painter.forward([encoded])
            assert caught.value.code == "abandoned"
    finally:
        watch.remove()
    assert len(steps) == 3, "neither the steps behind, nor any where it was left before its turn"
    assert painter.predict(["a cat"], FEW | {"seed": 3}) == [expected], "the next one finds the pipeline as it was"


def test_every_client_gets_the_image_in_its_own_form(painter: TextToImage) -> None:
    answers = painter.predict(["a cat", "a dog"], FEW | {"seed": 1})
    assert orjson.dumps(answers)
    one = painter.hub_answer(answers[:1], single=True)
    assert one.startswith(b"\x89PNG") and np.array_equal(pixels(one), pixels(answers[0]))
    assert painter.hub_answer(answers, single=False) == [answer["image"] for answer in answers]
    [azure, _] = painter.azure_answer(answers, painter.azure_parameters({}))
    assert azure == {"prompt": "a cat", "generated_image": answers[0]["image"], "nsfw_content_detected": None}
    row = painter.output_row(answers[0], None)
    assert tuple(row) == painter.output_columns(None) and row["image"] == answers[0]["image"]


@pytest.mark.parametrize(("mime", "kind"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")])
def test_an_image_is_rendered_as_it_is_accepted(painter: TextToImage, mime: str, kind: str) -> None:
    [answer] = painter.predict(["a cat"], FEW | {"seed": 1})
    with Image.open(io.BytesIO(painter.render(answer, mime))) as image:
        assert image.format == kind and image.size == (32, 32)
    with pytest.raises(Refused, match="image/avif") as caught:
        painter.render(answer, "image/avif")
    assert caught.value.code == "not-acceptable"


def test_the_sample_takes_two_steps_and_is_small(painter: TextToImage, folder: Path, capsys: Any) -> None:
    assert check_main([str(folder), "--task", TASK]) == 0
    sample = json.loads(capsys.readouterr().out.splitlines()[-1])["sample"]
    assert sample["request"] == painter.sample() and sample["request"]["num_inference_steps"] == 2
    assert len(sample["answer"]["image"]) < 20_000
    assert set(sample["request"]) <= set(painter.schemas()["input"]["$defs"]["PromptInput"]["properties"])


def test_an_imported_pipeline_is_served_from_the_registry(folder: Path, tmp_path: Path, painter: TextToImage) -> None:
    registry = Registry(tmp_path / "registry")

    def check(view: Path, facts: ModelFacts) -> dict[str, Any]:
        assert facts.task == TASK and facts.architecture == "StableDiffusionPipeline"
        return {"request": None, "answer": None}

    draft = prepare_folder_import(registry, folder, name=Name.parse("painter"), check=check, reporter=SILENT)
    assert isinstance(draft, ModelDraft)
    view = registry.models.files_dir(registry.models.publish(draft))
    served = load_predictor(view, TASK, device="cpu", threads=1)
    given = FEW | {"seed": 4}
    assert served.predict(["a cat"], given) == painter.predict(["a cat"], given)
    assert inspect_folder(view).parameters == sum(
        parameter.numel()
        for part in painter._pipeline.components.values()
        if isinstance(part, torch.nn.Module)
        for parameter in part.parameters()
    )


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("path", "settings", "said"),
    [
        ("unet/config.json", {"sample_size": 10**6}, "draws 2,000,000 x 2,000,000 pixels by default"),
        ("unet/config.json", {"sample_size": [16, 10**6]}, "draws 2,000,000 x 32 pixels by default"),
        ("unet/config.json", {"sample_size": 0}, "draws 0 x 0 pixels"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**10}, "num_train_timesteps = 10000000000"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "many"}, "num_train_timesteps = many"),
    ],
    ids=str,
)
def test_a_model_whose_own_sizes_are_beyond_all_bounds_is_refused(
    copied: Path, path: str, settings: dict[str, Any], said: str
) -> None:
    file = copied / path
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(Refused, match=said) as caught:
        load_predictor(copied, TASK, device="cpu")
    assert caught.value.code == "bad-config"


@pytest.mark.parametrize(
    ("path", "settings", "part"),
    [
        ("unet/config.json", {"layers_per_block": "one"}, "unet"),
        ("unet/config.json", {"norm_num_groups": 0}, "unet"),
        ("vae/config.json", {"block_out_channels": [10**400]}, "vae"),
        ("text_encoder/config.json", {"hidden_size": "x"}, "text_encoder"),
        ("text_encoder/config.json", {"num_attention_heads": 0}, "text_encoder"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "none"}, "scheduler"),
        ("tokenizer/tokenizer_config.json", {"bos_token": 3}, "tokenizer"),
    ],
    ids=str,
)
def test_a_config_that_no_loader_expects_is_refused_in_one_line_without_a_path(
    copied: Path, path: str, settings: dict[str, Any], part: str
) -> None:
    file = copied / path
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(Refused, match=f"The model's {part} could not be loaded: .") as caught:
        load_predictor(copied, TASK, device="cpu")
    assert caught.value.code == "load-failed"
    assert "\n" not in caught.value.message and str(copied.parent) not in caught.value.message


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_weights_that_are_missing_are_refused_and_not_made_up(copied: Path, part: str) -> None:
    path = copied / f"{part}.safetensors"
    weights = load_file(path)
    weights.pop(max(weights))
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(Refused, match=rf"{part.partition('/')[0]} lack weights") as caught:
        load_predictor(copied, TASK, device="cpu")
    assert caught.value.code == "missing-weights"


def test_half_precision_alone_is_loaded(copied: Path, painter: TextToImage) -> None:
    for name in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        path = copied / f"{name}.safetensors"
        save_file({key: value.half() for key, value in load_file(path).items()}, path, metadata={"format": "pt"})
        path.rename(copied / f"{name}.fp16.safetensors")
    served = load_predictor(copied, TASK, device="cpu", threads=1)
    given = FEW | {"seed": 4}
    [half], [full] = served.predict(["a cat"], given), painter.predict(["a cat"], given)
    assert np.abs(pixels(half).astype(int) - pixels(full)).mean() < 3


@pytest.mark.parametrize(
    "index",
    [
        {"unet": ["subprocess", "Popen"]},
        {"unet": ["diffusers", "Nothing"]},
        {"unet": ["diffusers", "DiffusionPipeline"]},
        {"unet": ["stable_diffusion", "Path"]},
        {"_class_name": "NoSuchPipeline"},
        {"_class_name": ["my", "MyPipeline"]},
    ],
    ids=str,
)
def test_classes_that_are_not_diffusers_or_transformers_are_not_loaded(copied: Path, index: dict[str, Any]) -> None:
    (copied / "unet" / "subprocess.py").write_text("raise SystemExit")
    (copied / "my.py").write_text("raise SystemExit")
    path = copied / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | index))
    with pytest.raises(Refused):
        load_predictor(copied, TASK, device="cpu")


def test_pickles_beside_the_index_are_never_read(copied: Path) -> None:
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (copied / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(Refused, match="The model's unet could not be loaded"):
        load_predictor(copied, TASK, device="cpu")
