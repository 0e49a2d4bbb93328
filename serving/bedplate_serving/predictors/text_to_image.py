"""Text to image on a pipeline of diffusers: Stable Diffusion, SDXL, and whatever else takes a prompt and gives images.

One image is made at a time, with a random generator of its own: the same seed gives the same image, whoever else is
waiting. Between two steps it is looked whether anybody still waits for it.

An item is a prompt, or an object with `prompt` and parameters of its own, which go before those of the request.
"""

from __future__ import annotations

import base64
import copy
import inspect
import io
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

import torch
from PIL import Image
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_registry.errors import BedplateError, Refused, nearest
from bedplate_serving.predictors.base import ItemError, LongWork, TaskPredictor
from bedplate_serving.predictors.image_pipeline import (
    MAX_SIDE,
    default_size,
    default_steps,
    load_pipeline,
    longest_tokenizer,
    prompt_tokens,
    schedulers_for,
)
from bedplate_serving.predictors.loading import pick_device
from bedplate_serving.predictors.parameters import Parameters, read_parameters
from bedplate_serving.predictors.refusing import first_line, refusing
from bedplate_serving.predictors.text import check_text

__all__ = ["ImageAnswer", "TextToImage", "TextToImageParameters", "load"]

MAX_STEPS = 150
MAX_PIXELS = 50 * MAX_SIDE**2  # of all steps of an image together: fifty steps at the largest size
MAX_CHARACTERS = 20_000
SAMPLE_SIDE = 64  # of the image that a freshly loaded model makes: enough to pass through all of it
_OURS = {"seed", "scheduler"}  # parameters that a pipeline takes in another form
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


class TextToImageParameters(Parameters):
    negative_prompt: Annotated[
        str | None, Field(max_length=MAX_CHARACTERS, description="What the image must not show.")
    ] = None
    num_inference_steps: Annotated[
        int | None, Field(ge=1, le=MAX_STEPS, description="Denoising steps; by default as many as the model asks for.")
    ] = None
    guidance_scale: Annotated[
        float | None, Field(ge=0, le=100, description="How closely the prompt is followed; by default the model's own.")
    ] = None
    width: Annotated[
        int | None, Field(ge=8, le=MAX_SIDE, multiple_of=8, description="In pixels; by default the model's own size.")
    ] = None
    height: Annotated[
        int | None, Field(ge=8, le=MAX_SIDE, multiple_of=8, description="In pixels; by default the model's own size.")
    ] = None
    seed: Annotated[
        int | None,
        Field(ge=0, lt=1 << 63, description="The same seed gives the same image; by default another each time."),
    ] = None
    scheduler: Annotated[
        str | None, Field(description="The class of diffusers to go through the steps with: one that fits the model's.")
    ] = None


class PromptInput(TypedDict):
    """A prompt with parameters of its own: all that a request has."""

    prompt: str
    negative_prompt: NotRequired[str | None]
    num_inference_steps: NotRequired[int | None]
    guidance_scale: NotRequired[float | None]
    width: NotRequired[int | None]
    height: NotRequired[int | None]
    seed: NotRequired[int | None]
    scheduler: NotRequired[str | None]


class ImageAnswer(TypedDict):
    """An image, and what it takes to make it again."""

    image: Annotated[str, Field(description="A PNG file as base64.")]
    seed: int
    width: int
    height: int
    prompt: str
    nsfw_content_detected: Annotated[bool | None, Field(description="null where the model has no safety checker.")]


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """One image to be made."""

    prompt: str
    seed: int
    parameters: TextToImageParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedOrder(LongWork):
    order: ImageOrder


@dataclass(frozen=True, slots=True)
class Drawn:
    """One image that was made, as a PNG file."""

    order: ImageOrder
    png: bytes
    size: tuple[int, int]
    is_nsfw: bool | None


def load(folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None) -> TextToImage:
    return TextToImage(folder, device, threads)


class TextToImage(TaskPredictor):
    """The predictor of the task text-to-image; see base.Predictor for what each method promises."""

    task = "text-to-image"
    parameters_type = TextToImageParameters
    input_type = str | PromptInput
    answer_type = ImageAnswer
    token_budget = 1  # every image costs one: they are made one by one

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = pick_device(device)
        self._pipeline = load_pipeline(folder, self.device)
        with refusing("The pipeline"):
            self._takes = frozenset(inspect.signature(self._pipeline.__call__).parameters)
            self._schedulers = schedulers_for(self._pipeline)
            self._size, self._steps = default_size(self._pipeline), default_steps(self._pipeline)
            self._tokenizer = copy.deepcopy(longest_tokenizer(self._pipeline))  # the pipeline sets its truncation
            self._most_tokens = prompt_tokens(self._pipeline)
            self.context_length = self._most_tokens or MAX_CHARACTERS
        self._lock = threading.Lock()  # a pipeline and its scheduler hold the state of the image they are at

    def parameters(self, raw: Mapping[str, Any]) -> TextToImageParameters:
        return self._checked(super().parameters(raw))

    def _checked(self, parameters: TextToImageParameters) -> TextToImageParameters:
        name = parameters.scheduler
        if name is not None and name not in self._schedulers:
            what = f"scheduler is {name[:100]!r}, which does not fit the model."
            raise Refused(what, hint=nearest(name, self._schedulers), code="bad-parameter")
        for given in parameters.model_dump(exclude_none=True, exclude=_OURS):
            if given not in self._takes:
                what = f"{type(self._pipeline).__name__} has no parameter {given!r}."
                raise Refused(what, hint="Leave it out.", code="unknown-parameter")
        self._check_work(parameters)
        return parameters

    def _check_work(self, parameters: TextToImageParameters) -> None:
        width, height = parameters.width or self._size[0], parameters.height or self._size[1]
        steps = parameters.num_inference_steps or self._steps
        if steps * width * height > MAX_PIXELS:
            most = max(MAX_PIXELS // (width * height), 1)
            what = f"num_inference_steps is {steps} for an image of {width} x {height}; of that size at most {most} are"
            raise Refused(f"{what} made.", hint="Ask for fewer steps, or a smaller image.", code="bad-parameter")

    def parse(self, item: Any, parameters: TextToImageParameters | None = None) -> ImageOrder:
        if isinstance(item, ImageOrder):
            return item
        wanted = parameters or TextToImageParameters()
        if isinstance(item, dict):
            item, wanted = item.get("prompt"), self._own_parameters(item, wanted)
        prompt = check_text(item, "prompt")
        if len(prompt) > MAX_CHARACTERS:
            raise ItemError(f"prompt has {len(prompt):,} characters; it may have {MAX_CHARACTERS:,}")
        seed = secrets.randbelow(1 << 32) if wanted.seed is None else wanted.seed
        return ImageOrder(prompt, seed, wanted)

    def _own_parameters(self, item: Mapping[str, Any], shared: TextToImageParameters) -> TextToImageParameters:
        own = {str(key): value for key, value in item.items() if key != "prompt"}
        try:
            read = read_parameters(TextToImageParameters, own, self.task)
            return self._checked(shared.model_copy(update=read.model_dump(exclude_none=True)))
        except Refused as error:
            raise ItemError(f"{error.message} {error.hint}".strip()) from error

    def encode(self, items: Sequence[ImageOrder]) -> list[EncodedOrder]:
        """Marks prompts that are longer than the model's text encoders read."""
        limit = self._most_tokens
        if limit is None or self._tokenizer is None:
            return [EncodedOrder(length=1, order=item) for item in items]
        lengths = [len(ids) for ids in self._tokenizer([item.prompt for item in items])["input_ids"]]
        return [
            EncodedOrder(length=1, truncated=length > limit, order=item)
            for item, length in zip(items, lengths, strict=True)
        ]

    def forward(self, batch: Sequence[EncodedOrder]) -> list[Drawn]:
        with self._lock:
            return [self._draw(one.order, one) for one in batch]

    def _draw(self, order: ImageOrder, work: LongWork) -> Drawn:
        """Raises BedplateError: abandoned, where nobody waits for it any more."""
        own, given = self._pipeline.scheduler, order.parameters.model_dump(exclude_none=True, exclude=_OURS)
        kind = self._schedulers[order.parameters.scheduler or type(own).__name__]
        # Drawn on the CPU whatever the device is, as far as that goes: one seed, one image on every machine.
        generator = torch.Generator("cpu").manual_seed(order.seed)

        def go_on(_pipeline: Any, _step: int, _timestep: Any, state: dict[str, Any]) -> dict[str, Any]:
            if work.is_abandoned:
                raise BedplateError("Nobody waits for this image any more.", code="abandoned")
            return state

        if "callback_on_step_end" in self._takes:
            given["callback_on_step_end"] = go_on
        try:
            go_on(None, 0, None, {})  # it may have waited long for its turn
            self._pipeline.scheduler = kind.from_config(own.config)
            output = self._pipeline(prompt=order.prompt, generator=generator, output_type="pil", **given)
        except ValueError as error:  # how pipelines say that sizes or settings do not fit the model
            raise ItemError(f"cannot be drawn: {first_line(error)}") from error
        finally:
            self._pipeline.scheduler = own
        image, flagged = output.images[0], getattr(output, "nsfw_content_detected", None)
        return Drawn(order, _encode(image, "PNG"), image.size, bool(flagged[0]) if flagged else None)

    def answer(self, raw: Drawn, parameters: Any = None) -> ImageAnswer:
        width, height = raw.size
        return {
            "image": base64.b64encode(raw.png).decode(),
            "seed": raw.order.seed,
            "width": width,
            "height": height,
            "prompt": raw.order.prompt,
            "nsfw_content_detected": raw.is_nsfw,
        }

    def hub_answer(self, answers: Sequence[ImageAnswer], single: bool) -> Any:
        """The image itself for one prompt, a list of base64 for a list of them."""
        return base64.b64decode(answers[0]["image"]) if single else [answer["image"] for answer in answers]

    def render(self, answer: ImageAnswer, mime: str) -> bytes:
        """The image of an answer as a PNG, JPEG or WebP file: work, not for the event loop. Raises Refused."""
        if mime not in FORMATS:
            hint = f"Ask for one of {', '.join(FORMATS)}."
            raise Refused(f"An image is not given as {mime[:100]!r}.", hint=hint, code="not-acceptable")
        png = base64.b64decode(answer["image"])
        if mime == "image/png":
            return png
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return _encode(image.convert("RGB"), FORMATS[mime])

    def azure_answer(self, answers: Sequence[ImageAnswer], parameters: Any) -> list[dict[str, Any]]:
        return [
            {
                "prompt": answer["prompt"],
                "generated_image": answer["image"],
                "nsfw_content_detected": answer["nsfw_content_detected"],
            }
            for answer in answers
        ]

    def sample(self) -> Any:
        """Two steps; and a small image where the model draws one of any size (a transformer may not)."""
        few = {"prompt": "a red house", "seed": 0, "num_inference_steps": 2}
        if hasattr(self._pipeline, "unet") and {"width", "height"} <= self._takes:
            few |= {"width": SAMPLE_SIDE, "height": SAMPLE_SIDE}
        return {name: value for name, value in few.items() if name in ("prompt", "seed") or name in self._takes}

    def output_columns(self, parameters: Any) -> tuple[str, ...]:
        return ("image", "seed", "nsfw_content_detected")

    def output_row(self, answer: ImageAnswer, parameters: Any) -> dict[str, Any]:
        return {name: value for name, value in answer.items() if name in self.output_columns(parameters)}


def _encode(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()
