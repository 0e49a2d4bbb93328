"""The Hub's dialect, on the endpoint itself: what `huggingface_hub.InferenceClient(model=url)` speaks.

    {"inputs": X | [X, …], "parameters": {…}}                      an answer, or a list of them
    {"inputs": text, "parameters": {…}, "stream": true}            text generation: TGI's events (tgi.py)
    the bytes of an image, whatever their Content-Type             image classification without parameters

Text to image answers one prompt with the image itself, of the first type in Accept that it can be (PNG by default).

What an X is, which parameters there are and how an answer looks is the predictor's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from bedplate_registry.errors import Refused
from bedplate_serving.dialects.body import as_mapping, parse_items, read_object
from bedplate_serving.dialects.call import Call, Reply, ScoringRequest, StreamingRequest
from bedplate_serving.dialects.tgi import stream
from bedplate_serving.predictors.base import Predictor
from bedplate_serving.problems import Problem

__all__ = ["parse"]

KEYS = ("inputs", "parameters", "options", "stream")  # `options` steers the Hub's own cache and queue: without effect
OF_BYTES = ("image-classification",)  # the tasks that take a body of bytes for an input
TO_IMAGES = ("text-to-image",)
JSON = "application/json"
IMAGES = ("image/png", "image/jpeg", "image/webp")  # what an image can be given as


def parse(call: Call, predictor: Predictor) -> ScoringRequest | StreamingRequest:
    if predictor.task in OF_BYTES and call.body.lstrip()[:1] != b"{":  # no image begins so
        return _scoring(call, [call.body], True, predictor, predictor.parameters({}))
    root = read_object(call.body, KEYS)
    if "inputs" not in root:
        raise Refused('The body has no "inputs".', hint='Send {"inputs": "text"} or a list.', code="missing-inputs")
    inputs, parameters = root["inputs"], predictor.parameters(as_mapping(root.get("parameters"), "parameters"))
    if _wants_stream(root.get("stream")):
        return stream(inputs, parameters, predictor)
    is_list = isinstance(inputs, list)
    return _scoring(call, inputs if is_list else [inputs], not is_list, predictor, parameters)


def _wants_stream(value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise Refused(f"stream is {str(value)[:100]!r}; it must be true or false.", code="bad-parameter")
    return bool(value)


def _scoring(call: Call, items: Sequence[Any], single: bool, predictor: Any, parameters: Any) -> ScoringRequest:
    parsed = parse_items(items, predictor, parameters)
    if single and predictor.task in TO_IMAGES:
        mime = _acceptable(call.accept)
        return ScoringRequest(parsed, partial(_write_image, predictor, parameters, mime), is_heavy=True)
    return ScoringRequest(parsed, partial(_write, predictor, parameters, single))


def _write(predictor: Predictor, parameters: Any, single: bool, raws: Sequence[Any]) -> Reply:
    answers = [predictor.answer(raw, parameters) for raw in raws]
    return Reply(orjson.dumps(predictor.hub_answer(answers, single)))


def _write_image(predictor: Any, parameters: Any, mime: str, raws: Sequence[Any]) -> Reply:
    answer = predictor.answer(raws[0], parameters)
    return Reply(orjson.dumps(answer)) if mime == JSON else Reply(predictor.render(answer, mime), mime)


def _acceptable(accept: str | None) -> str:
    """The first type the caller names that an image can be given in. Raises a Problem where there is none.

    Quality values are not weighed: nobody who asks for images sends any.
    """
    wanted = [one.partition(";")[0].strip().lower() for one in (accept or "*/*").split(",")]
    for mime in wanted:
        if mime in ("*/*", "image/*", ""):
            return "image/png"
        if mime in (*IMAGES, JSON):
            return mime
    known = ", ".join((*IMAGES, JSON))
    raise Problem(406, "not-acceptable", f"An image is not given as {wanted[0][:100]!r}.", f"Ask for one of {known}.")
