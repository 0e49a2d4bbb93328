"""The form of a request, made for its task: its inputs with an example, and the parameters that are asked for most."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import events, html, ui

from bedplate.studio.parts.notices import hint, toast_problem
from bedplate.studio.parts.task_words import input_title
from bedplate.studio.parts.try_picture import example_picture
from bedplate.studio.parts.try_settings import MAIN, Setting, SettingInputs, settings_of
from bedplate_registry.errors import Refused
from bedplate_registry.tasks import Key, get_task

__all__ = ["TryForm"]

MOST_IMAGE_BYTES = 6 << 20  # as base64 it is a third more, and a request has 8 MiB
MASK = re.compile(r"\[MASK\]|<mask>|<\|mask\|>|<extra_id_0>|\[mask\]|_{3,}")
# By which names they go over the wire where there are several.
WIRE = {"sentence1": "text", "sentence2": "text_pair"}
LONG = frozenset(("context", "document"))
EXAMPLES: Mapping[str, Mapping[str, str]] = {
    "text-classification": {"sentence1": "Hello, where is my order?"},
    "token-classification": {"tokens": "My name is Sarah and I live in London."},
    "question-answering": {"question": "Where do I live?", "context": "My name is Sarah and I live in London."},
    "fill-mask": {"text": "Paris is the [MASK] of France."},
    "summarization": {"document": "The shop was closed for two days after the storm. It opens again on Monday."},
    "translation": {"source": "My card is lost, please help."},
    "text-generation": {"prompt": "Once upon a time"},
    "text-to-image": {"prompt": "a red house"},
}
USUAL: Mapping[str, Mapping[str, Any]] = {  # more than the little that an endpoint is tried with by itself
    "fill-mask": {"top_k": 5},
    "text-generation": {"max_new_tokens": 60},
    "text-to-image": {"seed": 7},
}
# Puts a mask where the cursor is, as if it were typed.
INSERT = """() => {
  const field = getHtmlElement(%d).querySelector("textarea") || getHtmlElement(%d);
  field.focus();
  field.setRangeText(%s, field.selectionStart, field.selectionEnd, "end");
  field.dispatchEvent(new Event("input", {bubbles: true}));
}"""


class TryForm:
    """The fields of one task. `sample` is what the endpoint was tried with: {"inputs", "parameters"}, or nothing.

    Without `may_send` no image of one's own is taken.
    """

    def __init__(
        self, task: str, sample: Mapping[str, Any], on_change: Callable[[], Any], *, may_send: bool = True
    ) -> None:
        self._task, self._on_change = get_task(task), on_change
        self._fields: dict[str, Any] = {}
        self._may_send = may_send
        self._image, self._encoded = b"", ""
        self._rest: SettingInputs | None = None
        self._given = {**(sample.get("parameters") or {}), **_languages(sample), **USUAL.get(task, {})}
        examples = {**EXAMPLES.get(task, {}), **self._texts_of(sample)}
        for key in self._task.inputs:
            if key.kind == "image":
                self._image_field()
            elif key.required or key.name in WIRE:
                self._text_field(key, examples.get(key.name, ""))
        if task == "fill-mask":
            self._mask_button(examples.get("text", ""))
        self._main = SettingInputs(MAIN.get(task, ()), self._given, on_change)

    @property
    def context(self) -> str:
        """The text that answers point into."""
        field = self._fields.get("context") or next(iter(self._fields.values()), None)
        return str(field.value or "") if field is not None else ""

    @property
    def image(self) -> bytes:
        return self._image

    def show_rest(self, schema: Mapping[str, Any]) -> None:
        """Inputs for the parameters that are not asked for at once."""
        rest: list[Setting] = settings_of(schema, but={setting.name for setting in MAIN.get(self._task.name, ())})
        self._rest = SettingInputs(rest, self._given, self._on_change)
        if not rest:
            hint("This task has no other parameters.")

    def body(self) -> dict[str, Any]:
        """As it is sent. Raises Refused for what is missing or cannot be read."""
        parameters = {**(self._rest.values() if self._rest else self._unshown()), **self._main.values()}
        return {"inputs": self._inputs(), **({"parameters": parameters} if parameters else {})}

    def _unshown(self) -> dict[str, Any]:
        """What the sample had and no input shows."""
        shown = {setting.name for setting in MAIN.get(self._task.name, ())}
        return {name: value for name, value in self._given.items() if name not in shown and value is not None}

    def _inputs(self) -> Any:
        if not self._fields:
            return self._encoded
        values = {name: str(field.value or "") for name, field in self._fields.items()}
        required = [key.name for key in self._task.inputs if key.required]
        for name in required:
            if not values[name].strip():
                raise Refused(f"{input_title(name)} is empty.", hint="Write something there.", code="no-input")
        given = {name: value for name, value in values.items() if value or name in required}
        if len(given) == 1:
            return next(iter(given.values()))
        return {WIRE.get(name, name): value for name, value in given.items()}

    def _texts_of(self, sample: Mapping[str, Any]) -> dict[str, str]:
        """The sample's inputs by our names."""
        inputs = sample.get("inputs")
        inputs = inputs[0] if isinstance(inputs, list) and inputs else inputs
        names = [key.name for key in self._task.inputs]
        if isinstance(inputs, str):
            return {names[0]: inputs}
        if not isinstance(inputs, Mapping):
            return {}
        found = {name: inputs.get(name, inputs.get(WIRE.get(name, name))) for name in names}
        return {name: _text(value) for name, value in found.items() if value is not None}

    def _text_field(self, key: Key, text: str) -> None:
        title = input_title(key.name)
        field = ui.textarea(title, value=text).props("outlined autogrow debounce=150").classes("w-full")
        field.props(f'input-style="min-height: {"8rem" if key.name in LONG else "3.2rem"}"')
        self._fields[key.name] = field.on_value_change(self._on_change)

    def _mask_button(self, example: str) -> None:
        field, found = self._fields["text"], MASK.search(example)
        mask = found.group() if found else "[MASK]"
        button = html.button(f"Insert {mask}", type="button").classes("bp-button")
        button.on("click", js_handler=INSERT % (field.id, field.id, json.dumps(mask)))

    def _image_field(self) -> None:
        self._image = example_picture()
        self._encoded = _encoded(self._image)
        url = _data_url(self._image, self._encoded)
        self._picture = html.img(src=url, alt="The image that is sent").classes("bp-try-image")
        if not self._may_send:
            return
        upload = ui.upload(auto_upload=True, max_file_size=MOST_IMAGE_BYTES, on_upload=self._take)
        upload.on("rejected", lambda: toast_problem(_too_large())).props('accept="image/*"').style("display: none")
        button = html.button("Choose another image", type="button").classes("bp-button")
        button.on("click", js_handler=f"() => getElement({upload.id}).pickFiles()")

    async def _take(self, event: events.UploadEventArguments) -> None:
        """Its size is looked at before it is read: the browser's own limit binds nobody who sends by other means."""
        if event.file.size() > MOST_IMAGE_BYTES:
            toast_problem(_too_large())
            return
        image = await event.file.read()
        encoded = await asyncio.to_thread(_encoded, image)
        self._image, self._encoded = image, encoded
        self._picture.props["src"] = _data_url(image, encoded)
        self._picture.update()
        self._on_change()


def _too_large() -> Refused:
    return Refused(
        "This file is no image, or is too large.", hint="Choose an image of at most 6 MiB.", code="too-large"
    )


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _languages(sample: Mapping[str, Any]) -> dict[str, Any]:
    inputs = sample.get("inputs")
    has = inputs if isinstance(inputs, Mapping) else {}
    return {key: has[key] for key in ("src_lang", "tgt_lang") if has.get(key)}


def _encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def _data_url(image: bytes, encoded: str) -> str:
    """Of the type that its first bytes say; a browser draws nothing else in an <img>."""
    kinds = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp"))
    kind = next((name for start, name in kinds if image.startswith(start)), "png")
    return f"data:image/{kind};base64,{encoded}"
