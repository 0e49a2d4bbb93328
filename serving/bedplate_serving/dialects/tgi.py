"""Text generation as a stream of events, the way text-generation-inference sends them to InferenceClient.

data: {"index": 1, "token": {"id", "text", "logprob", "special"}, "generated_text": null, "details": null}
…
the last one has "generated_text", the whole of it, and where it was asked for "details"
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_serving.dialects.call import StreamingRequest
from bedplate_serving.dialects.events import event, refuse_unless_writing, with_errors
from bedplate_serving.predictors.base import Piece, Predictor
from bedplate_serving.predictors.generation.parameters import GenerationParameters
from bedplate_serving.problems import Problem

__all__ = ["stream"]


def stream(inputs: Any, parameters: GenerationParameters, predictor: Predictor) -> StreamingRequest:
    """One text. Raises Refused for a list of them, and for several texts of one prompt."""
    refuse_unless_writing(predictor, "stream")
    if isinstance(inputs, list) or parameters.sequences > 1:
        what = "a list of inputs" if isinstance(inputs, list) else "several texts of one prompt"
        raise Refused(f"A stream is one text, and this asks for {what}.", hint="Send stream: false.", code="one-stream")
    if parameters.samples and parameters.seed is None:  # drawn here, so that the details can tell it
        parameters = parameters.model_copy(update={"seed": secrets.randbits(63)})
    prompt = inputs if parameters.return_full_text and isinstance(inputs, str) else ""
    write = partial(_events, prompt, parameters)
    return StreamingRequest(predictor.parse(inputs, parameters), lambda pieces: with_errors(write(pieces), _failure))


async def _events(text: str, parameters: GenerationParameters, pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    count = 0
    async with aclosing(pieces) as opened:  # type: ignore[type-var]  # of generators: the work ends with the caller
        async for piece in opened:
            count, text = count + 1, text + piece.text
            data: dict[str, Any] = {"index": count, "token": _token(piece), "generated_text": None, "details": None}
            if parameters.top_n_tokens:
                data["top_tokens"] = [_top(*one) for one in piece.top]
            if piece.finish_reason is not None:
                data["generated_text"] = text
                data["details"] = _details(piece, count, parameters) if parameters.details else None
            yield event(data)


def _token(piece: Piece) -> dict[str, Any]:
    return {"id": piece.token_id, "text": piece.text, "logprob": piece.logprob, "special": piece.special}


def _top(token_id: int, text: str, logprob: float) -> dict[str, Any]:
    return {"id": token_id, "text": text, "logprob": logprob, "special": False}


def _details(piece: Piece, count: int, parameters: GenerationParameters) -> dict[str, Any]:
    """`input_length` is TGI's name of the tokens of the prompt."""
    length = (piece.usage or {}).get("prompt_tokens")
    told = {"finish_reason": piece.finish_reason, "generated_tokens": count, "input_length": length}
    return told | {"seed": parameters.seed if parameters.samples else None}


def _failure(problem: Problem) -> bytes:
    return b"data: " + problem.scoring_body(None) + b"\n\n"
