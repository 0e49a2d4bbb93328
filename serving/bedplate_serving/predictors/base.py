"""The contract of a predictor: what the replica, batch scoring and evaluation may rely on, whatever the task.

    raw input --parse--> Item --encode--> Encoded --forward--> Raw --answer--> JSON answer

`parse` and `answer` are cheap and may run on an event loop; `encode` and `forward` are the work, decoding included.
Both may be called from several threads at once (an implementation guards itself with a lock where it must). Parameters
that steer the work (a stride, a generation's length) travel in the Item and the Encoded: items of one batch may differ
in them.
A task is added by one file beside this one; `bedplate_serving.predictors` finds it by its name. `TaskPredictor` is the
part that most predictors have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, ClassVar, Protocol

from pydantic import TypeAdapter

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.parameters import Parameters, read_parameters

__all__ = [
    "BadItems",
    "Encoded",
    "Engine",
    "ItemError",
    "LongWork",
    "OnCut",
    "Piece",
    "Predictor",
    "TaskPredictor",
    "cut",
    "forward_sorted",
    "is_cut",
    "predict_sorted",
]


class ItemError(Refused):
    """One input cannot be scored; the message says why. Who holds the list adds the index."""

    code = "bad-item"


class BadItems(Refused):
    """Some inputs of a list cannot be scored: `errors` holds (index, reason) for every one of them."""

    code = "bad-items"

    def __init__(self, errors: Sequence[tuple[int, str]]) -> None:
        self.errors = tuple(errors)
        shown = "; ".join(f"item {index}: {reason}" for index, reason in self.errors[:20])
        rest = f"; and {len(self.errors) - 20} more" if len(self.errors) > 20 else ""
        super().__init__(f"{shown}{rest}.", hint="Correct or leave out these items: the others are in order.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One item as its model reads it; each family of models adds what it needs. Batching looks at these two alone."""

    length: int  # its cost, in tokens: a batch is cut when the sum passes the budget
    truncated: bool = False  # whether some of the input is not read

    def abandon(self) -> None:
        """Nobody waits for its answer any more. May be called from any thread, before, in and after `forward`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongWork(Encoded):
    """An item whose answer takes seconds, so that `forward` looks now and then whether anybody still waits."""

    _abandoned: Event = field(default_factory=Event, init=False, repr=False, compare=False)

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned.is_set()

    def abandon(self) -> None:
        self._abandoned.set()


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a text while it is written; the texts of all pieces together are the whole text.

    Text that may yet turn out to be a stop string, or half a character, comes with a later token.
    """

    text: str
    token_id: int
    logprob: float | None = None  # natural; the model's own, before temperature and the like
    special: bool = False
    finish_reason: str | None = None  # of the last piece: length, eos_token or stop_sequence
    usage: dict[str, int] | None = None  # of the last piece: prompt_tokens, completion_tokens
    top: tuple[tuple[int, str, float], ...] = ()  # the likeliest here as (id, text, logprob), where they were asked for


# Told the place of each item that was not read, or its text not written, to its end.
OnCut = Callable[[int], None]


class Engine(Protocol):
    """The work itself, and all that batching needs to know of a model."""

    token_budget: int  # the batch size in tokens that suits this device

    def encode(self, items: Sequence[Any]) -> Sequence[Encoded]:
        """Tokenizes; texts beyond the model's context are cut and marked `truncated`."""

    def forward(self, batch: Sequence[Any]) -> list[Any]:
        """One pass through the model, results in the order of the batch.

        A result whose attribute `truncated` is true lacks its end, or is of an input that was not read to its end.
        """


class Predictor(Engine, Protocol):
    """One loaded model. `Item`, `Raw` and the parameters object are the task's own; nobody else looks inside."""

    task: str
    labels: tuple[str, ...]
    device: str
    context_length: int

    def parameters(self, raw: Mapping[str, Any]) -> Any:
        """The task's parameters, checked; an unknown one is Refused by name with the nearest known."""

    def parse(self, item: Any, parameters: Any = None) -> Any:
        """One raw input to an Item (an Item passes as it is); raises ItemError."""

    def answer(self, raw: Any, parameters: Any = None) -> Any:
        """The JSON answer of one item."""

    def predict(
        self,
        items: Sequence[Any],
        parameters: Mapping[str, Any] | None = None,
        token_budget: int | None = None,
        on_cut: OnCut | None = None,
    ) -> list[Any]:
        """The offline path: answers for a list held in memory, in its order; raises BadItems."""

    # What differs on the wire and in files from task to task (dialects and batch.py do the rest).
    def hub_answer(self, answers: Sequence[Any], single: bool) -> Any:
        """The body for `huggingface_hub.InferenceClient`: `single` where the caller sent one input, not a list.

        `bytes` go out as they are: an image.
        """

    def azure_parameters(self, raw: Mapping[str, Any]) -> Any:
        """Parameters as Azure's callers name them."""

    def azure_answer(self, answers: Sequence[Any], parameters: Any) -> Any:
        """The body Azure's newer images answer with."""

    def sample(self) -> Any:
        """A raw input that any model of this task must be able to answer."""

    def schemas(self) -> Mapping[str, Any]:
        """JSON schemas of one `input`, of the `parameters`, and of the `answer` to one input."""

    def sample_parameters(self) -> dict[str, Any]:
        """Parameters for the sample that keep its answer short, where the defaults would write or draw for long."""

    def output_columns(self, parameters: Any) -> tuple[str, ...]:
        """The columns batch scoring adds to a file."""

    def output_row(self, answer: Any, parameters: Any) -> dict[str, Any]:
        """One answer as the values of those columns."""


class TaskPredictor:
    """What predictors have in common. A task adds what raises here, `sample`, its columns and its types."""

    task: str
    parameters_type: ClassVar[type[Parameters]]
    input_type: ClassVar[Any]  # of one raw input, for the documentation
    answer_type: ClassVar[Any]  # of its answer
    labels: tuple[str, ...] = ()
    device: str
    context_length: int
    token_budget: int

    def parameters(self, raw: Mapping[str, Any]) -> Any:
        return read_parameters(self.parameters_type, raw, self.task)

    def parse(self, item: Any, parameters: Any = None) -> Any:
        raise NotImplementedError

    def encode(self, items: Sequence[Any]) -> Sequence[Encoded]:
        raise NotImplementedError

    def forward(self, batch: Sequence[Any]) -> list[Any]:
        raise NotImplementedError

    def answer(self, raw: Any, parameters: Any = None) -> Any:
        raise NotImplementedError

    def predict(
        self,
        items: Sequence[Any],
        parameters: Mapping[str, Any] | None = None,
        token_budget: int | None = None,
        on_cut: OnCut | None = None,
    ) -> list[Any]:
        wanted = self.parameters(parameters or {})
        raws = predict_sorted(self, self.parse_all(items, wanted), token_budget, on_cut)
        return [self.answer(raw, wanted) for raw in raws]

    def parse_all(self, items: Sequence[Any], parameters: Any = None) -> list[Any]:
        """All of a list, or BadItems with every fault in it."""
        parsed, errors = [], []
        for index, item in enumerate(items):
            try:
                parsed.append(self.parse(item, parameters))
            except ItemError as error:
                errors.append((index, error.message))
        if errors:
            raise BadItems(errors)
        return parsed

    def hub_answer(self, answers: Sequence[Any], single: bool) -> Any:
        return answers[0] if single else list(answers)

    def azure_parameters(self, raw: Mapping[str, Any]) -> Any:
        return self.parameters(raw)

    def azure_answer(self, answers: Sequence[Any], parameters: Any) -> Any:
        return list(answers)

    def sample_parameters(self) -> dict[str, Any]:
        return {}

    def schemas(self) -> dict[str, Any]:
        return {
            "input": TypeAdapter(self.input_type).json_schema(),
            "parameters": self.parameters_type.model_json_schema(),
            "answer": TypeAdapter(self.answer_type).json_schema(),
        }


def cut(lengths: Sequence[int], token_budget: int) -> Iterator[tuple[int, int]]:
    """Ranges [start, end) of consecutive items whose rows x longest stays within the budget; always at least one."""
    start, longest = 0, 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        if index > start and longest * (index - start + 1) > token_budget:
            yield start, index
            start, longest = index, length
    if start < len(lengths):
        yield start, len(lengths)


def predict_sorted(
    engine: Engine, items: Sequence[Any], token_budget: int | None = None, on_cut: OnCut | None = None
) -> list[Any]:
    """Raw results of parsed items, in their order."""
    return forward_sorted(engine, engine.encode(items), token_budget, on_cut)


def is_cut(encoded: Encoded, raw: Any) -> bool:
    """Whether an input was not read to its end, or its text not written to it."""
    return encoded.truncated or bool(getattr(raw, "truncated", False))


def forward_sorted(
    engine: Engine, encoded: Sequence[Encoded], token_budget: int | None = None, on_cut: OnCut | None = None
) -> list[Any]:
    """Raw results in the given order; run in the order of length, so that little is padded, and cut by the budget."""
    order = sorted(range(len(encoded)), key=lambda index: encoded[index].length)
    lengths = [encoded[index].length for index in order]
    results: list[Any] = [None] * len(encoded)
    for start, end in cut(lengths, token_budget or engine.token_budget):
        places = order[start:end]
        for place, raw in zip(places, engine.forward([encoded[i] for i in places]), strict=True):
            results[place] = raw
            if on_cut is not None and is_cut(encoded[place], raw):
                on_cut(place)
    return results
