"""Text generation: a prompt is continued or a chat answered, by any AutoModelForCausalLM.

    generator = load(folder)
    generator.predict(["Once upon a time"], {"max_new_tokens": 20, "temperature": 0.7, "seed": 1})

Without a parameter that draws, the likeliest token is taken each time; what else the caller leaves open is what the
model's own generation config says. Answers hold the text alone unless return_full_text is true (for Azure's callers it
is, unless they say otherwise). Log-probabilities are the model's own, before temperature and the like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bedplate_serving.predictors.base import ItemError, OnCut, TaskPredictor, forward_sorted
from bedplate_serving.predictors.generation.chat_template import parse_messages
from bedplate_serving.predictors.generation.generated import Answer, GeneratedText, Generation, details_of
from bedplate_serving.predictors.generation.model import CausalModel
from bedplate_serving.predictors.generation.parameters import GenerationParameters
from bedplate_serving.predictors.generation.prompt import Chat, EncodedPrompt, Prompt, read_token_ids
from bedplate_serving.predictors.generation.queue import GenerationQueue
from bedplate_serving.predictors.parameters import read_parameters
from bedplate_serving.predictors.text import check_text

__all__ = ["Generation", "GenerationParameters", "TextGenerator", "load"]


def load(
    folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None
) -> TextGenerator:
    """`derived` is for encoders."""
    return TextGenerator(folder, device, threads)


class AzureParameters(GenerationParameters):
    """Azure's callers get the prompt back in front of the text unless they ask for the text alone."""

    return_full_text: bool | None = True


class TextGenerator(TaskPredictor):
    """The predictor of the task text-generation; see base.Predictor for what each method promises."""

    task = "text-generation"
    parameters_type = GenerationParameters
    input_type = str | Chat
    answer_type = Answer

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        self._model = CausalModel(folder, self.task, device, threads)
        self.device = self._model.device
        self.context_length = self._model.context_length
        self.token_budget = self._model.token_budget

    # --- what comes in

    def parse(self, item: Any, parameters: GenerationParameters | None = None) -> Prompt:
        """A text, `{"prompt": …}`, a chat `{"messages": […]}`, or a list of token ids."""
        wanted = parameters or DEFAULT
        if isinstance(item, Prompt):
            return item
        if isinstance(item, str):
            return Prompt(wanted, text=check_text(item, "prompt"))
        if isinstance(item, list):
            return Prompt(wanted, token_ids=read_token_ids(item, self._model.vocabulary))
        if isinstance(item, dict) and "messages" in item:
            _refuse_others(item, {"messages", "tools"})
            return self.parse_chat(item["messages"], wanted, item.get("tools"))
        if isinstance(item, dict) and "prompt" in item:
            _refuse_others(item, {"prompt", "completion"})
            return Prompt(wanted, text=check_text(item["prompt"], "prompt"))
        raise ItemError(f'must be a text, {{"prompt": …}} or {{"messages": […]}}, not {type(item).__name__}')

    def parse_chat(
        self, messages: Any, parameters: GenerationParameters | None = None, tools: Sequence[Any] | None = None
    ) -> Prompt:
        """A chat to be answered. That the model has a template is checked here; it is rendered by `encode`."""
        checked = parse_messages(messages)
        self._model.chat.check(with_tools=bool(tools))
        return Prompt(parameters or DEFAULT, messages=tuple(checked), tools=tuple(tools or ()))

    def prompt_of(self, messages: Any, tools: Sequence[Any] | None = None) -> str:
        """The chat as the model's own template writes it. Blocks, for two seconds at most."""
        return self._model.chat.render(parse_messages(messages), tools)

    def token(self, token_id: int) -> tuple[str, bytes]:
        """A token by itself, as text and as its own bytes, which may be a half of a character."""
        return self._model.token_texts.text(token_id), self._model.token_texts.bytes(token_id)

    # --- the work

    def encode(self, items: Sequence[Prompt]) -> list[EncodedPrompt]:
        return self._model.encode(items)

    def forward(self, batch: Sequence[EncodedPrompt]) -> list[Generation]:
        return self._model.write(batch)

    def predict(
        self,
        items: Sequence[Any],
        parameters: Mapping[str, Any] | None = None,
        token_budget: int | None = None,
        on_cut: OnCut | None = None,
    ) -> list[Answer]:
        """As every predictor's; a prompt that is too long is named by its index as well."""
        wanted = self.parameters(parameters or {})
        encoded = self._model.encode_all(self.parse_all(items, wanted))
        return [self.answer(raw, wanted) for raw in forward_sorted(self, encoded, token_budget, on_cut)]

    def open_queue(self, *, max_queue: int = 256, token_budget: int | None = None) -> GenerationQueue:
        """A queues.StreamingQueue: texts are batched by the token."""
        return GenerationQueue(self._model, max_queue=max_queue, token_budget=token_budget)

    # --- what goes out

    def answer(self, raw: Generation, parameters: GenerationParameters | None = None) -> Answer:
        with_details = parameters is not None and (parameters.details or parameters.decoder_input_details)
        return [_answer(one, with_details) for one in (raw, *raw.others)]

    def azure_parameters(self, raw: Mapping[str, Any]) -> AzureParameters:
        return read_parameters(AzureParameters, raw, self.task)

    def azure_answer(self, answers: Sequence[Answer], parameters: GenerationParameters) -> list[Any]:
        """Texts; where several of each prompt are asked for, lists of them."""
        return [_texts(answer) for answer in answers]

    def sample(self) -> Any:
        return "Once upon a time"

    def sample_parameters(self) -> dict[str, Any]:
        return {"max_new_tokens": 8}

    def output_columns(self, parameters: GenerationParameters) -> tuple[str, ...]:
        return ("generated_text",)

    def output_row(self, answer: Answer, parameters: GenerationParameters) -> dict[str, Any]:
        """The text; where several of each prompt are asked for, the list of them."""
        return {"generated_text": _texts(answer)}


DEFAULT = GenerationParameters()


def _answer(generation: Generation, with_details: bool) -> GeneratedText:
    answer: GeneratedText = {"generated_text": generation.prompt + generation.text}
    if with_details:
        answer["details"] = details_of(generation)
    return answer


def _texts(answer: Answer) -> Any:
    texts = [one["generated_text"] for one in answer]
    return texts[0] if len(texts) == 1 else texts


def _refuse_others(item: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(map(str, item)) - known)
    if unknown:
        raise ItemError(f"has the unknown key {unknown[0][:100]!r}; it may have {', '.join(sorted(known))}")
