"""What a caller has in hand after a call by a released client: each check makes one call and compares what came.

A check holds type and content to what the model is known to say. `test_wrong_shapes.py` shows that each of them notices
an answer of another shape.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import openai
import pytest
import tritonclient.http as triton
from huggingface_hub import (
    ChatCompletionOutput,
    ChatCompletionStreamOutput,
    FillMaskOutputElement,
    ImageClassificationOutputElement,
    InferenceClient,
    QuestionAnsweringOutputElement,
    SummarizationOutput,
    TextClassificationOutputElement,
    TextGenerationOutput,
    TextGenerationStreamOutput,
    TokenClassificationOutputElement,
    TranslationOutput,
)
from huggingface_hub.errors import ValidationError
from PIL import Image
from tritonclient.utils import InferenceServerException

TEXT = "my card is lost"
QUESTION = {"question": "Where do I live?", "context": "My name is Sarah and I live in London."}
MASKED = "my card is [MASK]"
CHAT = [{"role": "user", "content": "hello there"}]
PROMPT = "Once upon a time"
TOKENS = 12


def picture() -> bytes:
    image = Image.new("RGB", (20, 20), (200, 40, 40))
    image.paste((40, 40, 200), (0, 10, 20, 20))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def close(got: Any, expected: Any) -> bool:
    """The same but for what floats lose in a batch of another size; of objects, the keys of `expected`."""
    if isinstance(expected, float):
        return isinstance(got, float) and math.isclose(got, expected, rel_tol=1e-3, abs_tol=1e-4)
    if isinstance(expected, dict):
        read = got.get if isinstance(got, dict) else lambda key: getattr(got, key, None)
        return all(close(read(key), value) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(close, got, expected))
    return type(got) is type(expected) and bool(got == expected)


def _same(got: Any, kind: type, expected: Any) -> None:
    """One of that kind, or a list of them, and with this content."""
    assert isinstance(got, list) == isinstance(expected, list)
    for one in got if isinstance(got, list) else [got]:
        assert isinstance(one, kind), one
    assert close(got, expected), (got, expected)


# --- huggingface_hub


def text_classification(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    _same(client.text_classification(TEXT, **parameters), TextClassificationOutputElement, expected)


def token_classification(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    _same(client.token_classification(TEXT, **parameters), TokenClassificationOutputElement, expected)


def question_answering(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    got = client.question_answering(**QUESTION, **parameters)
    _same(got, QuestionAnsweringOutputElement, expected)
    for one in got if isinstance(got, list) else [got]:
        assert one.answer == QUESTION["context"][one.start : one.end]


def fill_mask(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    _same(client.fill_mask(MASKED, **parameters), FillMaskOutputElement, expected)


def summarization(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    _same(client.summarization(TEXT, **parameters), SummarizationOutput, expected)


def translation(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    _same(client.translation(TEXT, **parameters), TranslationOutput, expected)


def text_generation(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    got = client.text_generation(PROMPT, max_new_tokens=TOKENS, **parameters)
    assert isinstance(got, str)
    assert got == expected


def text_generation_details(client: InferenceClient, expected: Any) -> None:
    got = client.text_generation(PROMPT, max_new_tokens=TOKENS, details=True)
    assert isinstance(got, TextGenerationOutput)
    assert got.generated_text == expected
    assert got.details is not None
    assert "".join(token.text for token in got.details.tokens) == expected
    assert got.details.generated_tokens == len(got.details.tokens)


def text_generation_stream(client: InferenceClient, expected: Any) -> None:
    assert "".join(client.text_generation(PROMPT, max_new_tokens=TOKENS, stream=True)) == expected
    events = list(client.text_generation(PROMPT, max_new_tokens=TOKENS, stream=True, details=True))
    assert all(isinstance(one, TextGenerationStreamOutput) for one in events)
    assert [one.index for one in events] == list(range(1, len(events) + 1))
    assert [one.generated_text for one in events] == [None] * (len(events) - 1) + [expected]
    assert events[-1].details is not None
    assert events[-1].details.generated_tokens == len(events)


def image_classification(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    _same(client.image_classification(picture(), **parameters), ImageClassificationOutputElement, expected)


def text_to_image(client: InferenceClient, expected: Any, **parameters: Any) -> None:
    got = client.text_to_image("a red house", **parameters)
    assert isinstance(got, Image.Image)
    wanted = Image.open(io.BytesIO(base64.b64decode(expected)))
    assert got.size == wanted.size
    difference = np.abs(np.asarray(got.convert("RGB"), int) - np.asarray(wanted.convert("RGB"), int))
    assert difference.max() <= 2


def hub_chat(client: InferenceClient, expected: Any) -> None:
    got = client.chat_completion(CHAT, max_tokens=TOKENS)
    assert isinstance(got, ChatCompletionOutput)
    assert got.choices[0].message.content == expected
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens > 0


def hub_chat_stream(client: InferenceClient, expected: Any) -> None:
    events = list(client.chat_completion(CHAT, max_tokens=TOKENS, stream=True))
    assert all(isinstance(one, ChatCompletionStreamOutput) for one in events)
    assert "".join(one.choices[0].delta.content or "" for one in events) == expected
    assert events[-1].choices[0].finish_reason in ("length", "stop")


# --- openai


def openai_chat(client: openai.OpenAI, expected: Any) -> None:
    got = client.chat.completions.create(model="text-generation", messages=CHAT, max_tokens=TOKENS)
    assert got.object == "chat.completion"
    assert [one.message.role for one in got.choices] == ["assistant"]
    assert got.choices[0].message.content == expected
    assert got.choices[0].finish_reason in ("length", "stop")
    assert got.usage is not None
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens


def openai_chat_stream(client: openai.OpenAI, expected: Any) -> None:
    options = {"include_usage": True}
    with client.chat.completions.create(
        model="text-generation", messages=CHAT, max_tokens=TOKENS, stream=True, stream_options=options
    ) as stream:
        events = list(stream)
    *pieces, last = events
    assert all(one.object == "chat.completion.chunk" for one in events)
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(one.choices[0].delta.content or "" for one in pieces) == expected
    assert [one.choices[0].finish_reason for one in pieces][-1] in ("length", "stop")
    assert last.choices == []
    assert last.usage.completion_tokens > 0
    assert len({one.id for one in events}) == 1


def openai_completion(client: openai.OpenAI, expected: Any) -> None:
    got = client.completions.create(model="text-generation", prompt=PROMPT, max_tokens=TOKENS)
    assert got.object == "text_completion"
    assert [one.text for one in got.choices] == [expected]
    assert got.usage.completion_tokens > 0


def openai_completion_stream(client: openai.OpenAI, expected: Any) -> None:
    options = {"include_usage": True}
    with client.completions.create(
        model="text-generation", prompt=PROMPT, max_tokens=TOKENS, stream=True, stream_options=options
    ) as stream:
        *pieces, last = list(stream)
    assert all(one.object == "text_completion" for one in (*pieces, last))
    assert "".join(one.choices[0].text for one in pieces) == expected
    assert [one.choices[0].finish_reason for one in pieces][-1] in ("length", "stop")
    assert last.choices == []
    assert last.usage.completion_tokens > 0


# --- tritonclient


def open_inference(
    client: triton.InferenceServerClient,
    expected: Any,
    *,
    columns: dict[str, Any],
    name: str,
    headers: dict[str, str] | None = None,
    binary: bool = True,
) -> triton.InferResult:
    """`expected` is the answer of each row; `columns` are the values of each input, of text or bytes."""
    inputs = []
    for key, values in columns.items():
        tensor = triton.InferInput(key, [len(values)], "BYTES")
        tensor.set_data_from_numpy(np.array(values, dtype=object), binary_data=binary)
        inputs.append(tensor)
    outputs = None if binary else [triton.InferRequestedOutput("output", binary_data=False)]
    got = client.infer(name, inputs, outputs=outputs, headers=headers)
    rows = got.as_numpy("output")
    assert rows is not None
    assert rows.dtype == np.object_
    assert close([json.loads(row) for row in rows], expected)
    return got


def classified(got: triton.InferResult, expected: Any) -> None:
    """The likeliest label and its score, as tensors of their own."""
    labels = [one.decode() if isinstance(one, bytes) else one for one in got.as_numpy("label")]
    assert labels == [answer[0]["label"] for answer in expected]
    assert got.as_numpy("score").dtype == np.float32
    assert close(got.as_numpy("score").tolist(), [answer[0]["score"] for answer in expected])


# --- refusals, as each client shows them


def hub_refusal(client: InferenceClient) -> None:
    with pytest.raises(ValidationError, match="max_new_tokens is 0; it must be at least 1"):
        client.text_generation(PROMPT, max_new_tokens=0)


def openai_refusal(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="n is 17") as caught:
        client.chat.completions.create(model="text-generation", messages=CHAT, n=17)
    assert caught.value.param == "n"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.code


def open_inference_refusal(client: triton.InferenceServerClient, headers: dict[str, str] | None = None) -> None:
    tensor = triton.InferInput("txt", [1], "BYTES")
    tensor.set_data_from_numpy(np.array(["hi"], dtype=object))
    with pytest.raises(InferenceServerException, match=r"^\[422\] \S+ has no input 'txt'\. Did"):
        client.infer("text-classification", [tensor], headers=headers)


# --- plain HTTP


def azure(answer: Any, expected: Any) -> None:
    assert isinstance(answer, list)
    assert close(answer, expected), (answer, expected)


HUB: dict[str, Callable[..., None]] = {
    "text-classification": text_classification,
    "token-classification": token_classification,
    "question-answering": question_answering,
    "fill-mask": fill_mask,
    "summarization": summarization,
    "translation": translation,
    "text-generation": text_generation,
    "image-classification": image_classification,
    "text-to-image": text_to_image,
}
