"""Image classification on any AutoModelForImageClassification: ViT, BEiT, ResNet, ConvNeXt, wrapped timm models.

Images are prepared by the model's own processor on Pillow (`backend="pil"`), which answers the same whether torchvision
is installed or not. A model wrapped from timm brings its own transforms, which need both.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from transformers import AutoImageProcessor, AutoModelForImageClassification
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_registry.errors import Refused
from bedplate_registry.inspection import read_config
from bedplate_registry.timm_models import is_timm
from bedplate_serving.predictors.base import Encoded, OnCut, TaskPredictor, predict_sorted
from bedplate_serving.predictors.class_scores import Function, LabelScore, default_function, ranked, scores_of
from bedplate_serving.predictors.images import decode, parse_image
from bedplate_serving.predictors.loading import load_model, pick_device
from bedplate_serving.predictors.parameters import Parameters
from bedplate_serving.predictors.refusing import first_line, refusing

__all__ = ["ImageClassificationParameters", "ImageClassifier", "load"]

Vector = np.ndarray[Any, Any]
Answer = list[LabelScore]

MAX_SIDE = 4096
LEAST_SHARE = 0.1  # that is cut out of an image, which is scaled to so much more than the model reads
TOP_K = 5  # as many as the Hub's own pipeline answers
PATCH = 16  # an image costs as many tokens as it has patches of 16 x 16: 196 at 224 x 224
CPU_TOKEN_BUDGET = 4 * 196  # a larger batch gains nothing on a CPU (measured) and only makes the next request wait
GPU_TOKEN_BUDGET = 64 * 196


class ImageClassificationParameters(Parameters):
    top_k: Annotated[
        int | None, Field(ge=1, description="How many labels an answer holds, the likeliest first; 5 where not given.")
    ] = None
    function_to_apply: Annotated[
        Function | None, Field(description="From logits to scores; by default what the model's own config asks for.")
    ] = None


class ImageInput(TypedDict):
    image: Annotated[str, Field(description="Base64 of an image file, or a data URL.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage(Encoded):
    data: bytes  # a file: pixels would take a hundred times the memory while they wait


def load(
    folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None
) -> ImageClassifier:
    return ImageClassifier(folder, device, threads)


class ImageClassifier(TaskPredictor):
    """The predictor of the task image-classification; see base.Predictor for what each method promises."""

    task = "image-classification"
    parameters_type = ImageClassificationParameters
    input_type = str | ImageInput
    answer_type = Answer

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = pick_device(device)
        _require_timm(folder)
        self._model = load_model(AutoModelForImageClassification, folder, self.device, head=self.task)
        self._processor = _load_processor(folder)
        with refusing("The model"):
            config = self._model.config
            self.labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
            self._function = default_function(config)
            self._cost = self._cost_of_an_image()
        self.context_length = self._cost
        self.token_budget = CPU_TOKEN_BUDGET if self.device == "cpu" else GPU_TOKEN_BUDGET

    def parse(self, item: Any, parameters: Any = None) -> bytes:
        return parse_image(item)

    def encode(self, items: Sequence[bytes]) -> list[EncodedImage]:
        return [EncodedImage(length=self._cost, data=item) for item in items]

    def forward(self, batch: Sequence[EncodedImage]) -> list[Vector]:
        """Decodes, prepares and scores; images that are prepared to different sizes pass one size after the other."""
        prepared = [self._prepare(decode(item.data)) for item in batch]
        alike: dict[Any, list[int]] = defaultdict(list)
        for place, tensors in enumerate(prepared):
            alike[tuple((name, tensor.shape) for name, tensor in tensors.items())].append(place)
        rows: list[Any] = [None] * len(batch)
        for places in alike.values():
            for place, row in zip(places, self._run([prepared[place] for place in places]), strict=True):
                rows[place] = row
        return rows

    def _prepare(self, image: Image.Image) -> Mapping[str, torch.Tensor]:
        return dict(self._processor(images=image, return_tensors="pt"))

    def _run(self, prepared: Sequence[Mapping[str, torch.Tensor]]) -> Vector:
        inputs = {name: torch.cat([one[name] for one in prepared]).to(self.device) for name in prepared[0]}
        inputs = {
            name: tensor.to(self._model.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in inputs.items()
        }
        with torch.inference_mode():
            logits = self._model(**inputs).logits
        rows: Vector = logits.float().cpu().numpy()
        return rows

    def _cost_of_an_image(self) -> int:
        """In tokens, for the batch budget: what a picture of a usual shape is prepared to."""
        tensors = self._prepare(Image.new("RGB", (640, 480)))
        height, width = next(iter(tensors.values())).shape[-2:]
        return max(1, int(height) * int(width) // PATCH**2)

    def answer(self, raw: Vector, parameters: ImageClassificationParameters | None = None) -> Answer:
        wanted = parameters or DEFAULT
        return ranked(self.labels, scores_of(raw, wanted.function_to_apply or self._function), wanted.top_k or TOP_K)

    def probabilities(self, items: Sequence[Any], on_cut: OnCut | None = None) -> Vector:
        """[n, labels] in the order of `labels`: softmax, or sigmoid for a multi-label model."""
        rows = predict_sorted(self, self.parse_all(items), on_cut=on_cut)
        return np.stack([scores_of(row, self._function) for row in rows]) if rows else np.zeros((0, len(self.labels)))

    def sample(self) -> str:
        """A small picture as base64: red above, blue below."""
        image = Image.new("RGB", (16, 16), (200, 40, 40))
        image.paste((40, 40, 200), (0, 8, 16, 16))
        file = io.BytesIO()
        image.save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()

    def output_columns(self, parameters: ImageClassificationParameters) -> tuple[str, ...]:
        return ("label", "score") if (parameters.top_k or 1) == 1 else ("label", "score", "predictions")

    def output_row(self, answer: Answer, parameters: ImageClassificationParameters) -> dict[str, Any]:
        row: dict[str, Any] = {"label": answer[0]["label"], "score": answer[0]["score"]}
        return row if (parameters.top_k or 1) == 1 else row | {"predictions": answer}


DEFAULT = ImageClassificationParameters()


def _require_timm(folder: Path) -> None:
    """Raises Refused where the model is timm's and timm, which is no dependency of ours, cannot be imported."""
    if not is_timm(read_config(folder)):
        return
    try:
        import_module("timm")
        import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision built for another torch fails in all three
        raise Refused(
            f"The model is wrapped from timm, and this environment cannot import it: {first_line(error)}",
            hint="Install it with: pip install 'bedplate[timm]'",
            code="missing-timm",
        ) from error


def _load_processor(folder: Path) -> Any:
    with refusing("The model's image processor", hint="The model's folder needs its preprocessor_config.json."):
        kind = AutoImageProcessor
        processor = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")
        _check_sizes(processor)
        return processor


def _check_sizes(processor: Any) -> None:
    """Before any image is prepared: it is scaled to whatever a stranger's config names."""
    own = getattr(processor, "data_config", None) or {}  # timm's
    sides = {
        f"{name}.{edge}": getattr(getattr(processor, name, None), edge, None)
        for name in ("size", "crop_size", "pad_size")
        for edge in ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")
    }
    sides |= {"input_size": max(own.get("input_size") or [1])}
    for name, side in sides.items():
        if side is not None and not 0 < side <= MAX_SIDE:
            raise _bad(f"has {name} = {side}; an image is scaled to {MAX_SIDE} on a side at most")
    share = getattr(processor, "crop_pct", None) or own.get("crop_pct")
    if share is not None and share < LEAST_SHARE:
        raise _bad(f"has crop_pct = {share}; it must be at least {LEAST_SHARE}")


def _bad(what: str) -> Refused:
    return Refused(
        f"The model's image processor {what}.",
        hint="Correct preprocessor_config.json, or config.json.",
        code="bad-config",
    )
