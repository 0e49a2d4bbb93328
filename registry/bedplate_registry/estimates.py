"""How much memory a model takes to serve and to fine-tune, reckoned from its facts. Nothing is loaded or measured.

    weights       parameters x 4 bytes in float32, x 2 in bf16 and fp16
    serving       weights x 1.2 + 1 GiB for the runtime, and where texts are written the cache of keys and values:
                  2 x layers x kv_heads x head_dim x bytes, a token
    fine-tuning   all weights with AdamW: 16 bytes a parameter (weights, gradients and two moments in float32, which is
                  what autocast keeps; 2 + 2 + 12 where the weights are 16 bit: Rajbhandari et al. 2020, ZeRO)
                  LoRA (Hu et al. 2021): the frozen weights, and the 16 bytes for about 1 % of the parameters
    activations   layers x (34 s b h + 5 a s^2 b) bytes at 16 bit (Korthikanti et al. 2022), twice that in float32, for
                  batch b, tokens s, hidden size h, heads a; an upper bound where attention is fused

Sizes are bytes. An estimate is for planning: padding, fragmentation and kernels are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from .model_versions import ModelFacts
from .sizes import count_text, size_text
from .tasks import architecture_of, task_of

__all__ = [
    "CACHE_SHARE",
    "MOST_CACHED_TOKENS",
    "PRECISION_BYTES",
    "Estimate",
    "GpuLike",
    "Memory",
    "Recommendation",
    "cache_bytes",
    "cache_room",
    "estimate",
    "precision_for",
    "recommend",
    "rough_facts",
    "serving_bytes",
]

RUNTIME_BYTES = 1 << 30  # torch, its kernels and buffers, on either device
SERVING_FACTOR = 1.2  # activations of a batch, and what the allocator keeps
TRAINED_BYTES = 16  # of a parameter that is trained with AdamW
LORA_SHARE = 0.01
LOGIT_BYTES = 8  # of each word of the vocabulary and token: float32, with its gradient
# What a replica that writes texts keeps for its cache: a share of what is free when the model is loaded, and a bound:
# more would serve nobody.
CACHE_SHARE = {"cpu": 0.125, "cuda": 0.5}
MOST_CACHED_TOKENS = {"cpu": 8 * 1024, "cuda": 512 * 1024}
LEASED_TOKENS = 64 * 1024  # of a replica on a card: 128 texts of 512 tokens at once
USUAL_TOKENS = 512  # what a fine-tune cuts texts to unless told otherwise
MOST_BATCH = 256  # a larger one trains no faster
LARGEST_FIELD = 1 << 24  # of a config: more is no size of a model
USABLE_SHARE = 0.9  # of a device's memory; the rest is lost to fragments
PRECISION_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
WRITES_WORDS = ("text-generation", "summarization", "translation", "fill-mask")

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
_DECODER_LAYERS = ("num_decoder_layers", "decoder_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim", "emb_dim")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads")
_HEAD_DIM = ("head_dim", "d_kv")


class GpuLike(Protocol):
    """A card: its memory in bytes and its compute capability (major, minor), None where it does not tell."""

    @property
    def memory_bytes(self) -> int: ...
    @property
    def capability(self) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class Memory:
    """So many bytes, and what was assumed."""

    size_bytes: int
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """Bytes of the host's memory (`serve_cpu`) or of one card (the others).

    Fine-tunes are those of one row at a time; None for a model that makes images, which is not fine-tuned.
    `cache_token_bytes` is what one token of a text takes in the cache at 16 bit; None for what writes no texts.
    """

    parameters: int
    serve_cpu: Memory
    serve_gpu: Memory
    finetune_full: Memory | None
    finetune_lora: Memory | None
    cache_token_bytes: int | None

    @property
    def summary(self) -> str:
        """One line for people."""
        served = (
            f"{size_text(self.serve_cpu.size_bytes)} to serve on a CPU, {size_text(self.serve_gpu.size_bytes)} on a GPU"
        )
        trained = f"; {size_text(self.finetune_full.size_bytes)} to fine-tune" if self.finetune_full else ""
        return f"About {count_text(self.parameters)} parameters: {served}{trained}"

    def to_json(self) -> dict[str, Any]:
        return _plain_dict(asdict(self))


@dataclass(frozen=True)
class Recommendation:
    """How to fine-tune on the devices that are there.

    `device` is cuda or cpu, `precision` bf16, fp16 or fp32, `method` full or lora. `batch_size` is of each device, in
    rows of `tokens` tokens, and takes `memory_bytes` of it. method, batch_size and memory_bytes are None where nothing
    fits, or where the memory is not known.
    """

    device: str
    precision: str
    method: str | None
    batch_size: int | None
    tokens: int
    memory_bytes: int | None
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return _plain_dict(asdict(self))


def estimate(facts: ModelFacts, config: Mapping[str, Any] | None = None) -> Estimate:
    """What a model takes. `config` is its config.json, without which its shape is guessed from its size."""
    shape = _shape(facts, config)
    images = facts.task == "text-to-image"
    writes = facts.task == "text-generation"
    return Estimate(
        parameters=facts.parameters,
        serve_cpu=_serving(facts, shape, "cpu", 4),
        serve_gpu=_serving(facts, shape, "cuda", 2),
        finetune_full=None if images else _training(facts, shape, "full", "bf16", 1),
        finetune_lora=None if images else _training(facts, shape, "lora", "bf16", 1),
        cache_token_bytes=2 * shape.cached if writes else None,
    )


def rough_facts(config: Mapping[str, Any], weights_bytes: int, task: str | None) -> ModelFacts:
    """What is known before the weights are there: their size in bytes, and the type that config.json claims."""
    dtype = str(config.get("dtype") or config.get("torch_dtype"))
    each = {"float16": 2, "bfloat16": 2, "float64": 8}.get(dtype, 4)
    return ModelFacts(
        task=task or task_of(config),
        architecture=architecture_of(config),
        model_type=None,
        parameters=weights_bytes // each,
        dtype=dtype,
        size_bytes=weights_bytes,
    )


def recommend(
    facts: ModelFacts,
    gpus: Sequence[GpuLike],
    config: Mapping[str, Any] | None = None,
    *,
    memory_bytes: int | None = None,
) -> Recommendation:
    """Precision and the largest batch (a power of two) that fits each of the cards; without cards, the CPU.

    Of several cards the smallest and the oldest one count: each holds the whole model. `memory_bytes` is that of the
    host, for the CPU.
    """
    shape, tokens = _shape(facts, config), _tokens(facts)
    device, precision, reason = "cuda" if gpus else "cpu", precision_for(gpus), _reason(gpus)
    room = min(gpu.memory_bytes for gpu in gpus) if gpus else memory_bytes
    if room is None or facts.task == "text-to-image":
        why = "no memory is known" if room is None else "models that make images are not fine-tuned"
        return Recommendation(device, precision, None, None, tokens, None, (reason, why))
    for method in ("full", "lora"):
        batches = [1 << power for power in range(MOST_BATCH.bit_length())]
        sizes = {batch: _training(facts, shape, method, precision, batch) for batch in batches}
        fitting = [batch for batch in batches if sizes[batch].size_bytes <= room * USABLE_SHARE]
        if fitting:
            chosen = sizes[fitting[-1]]
            least = () if method == "full" else ("training all weights does not fit",)
            return Recommendation(
                device,
                precision,
                method,
                fitting[-1],
                tokens,
                chosen.size_bytes,
                (reason, *least, *chosen.assumed),
            )
    least_bytes = _training(facts, shape, "lora", precision, 1).size_bytes
    why = f"one row with LoRA takes {size_text(least_bytes)}, and the device has {size_text(room)}"
    return Recommendation(device, precision, None, None, tokens, None, (reason, why))


def precision_for(gpus: Sequence[GpuLike]) -> str:
    """bf16 where every card has compute capability 8 or more, fp16 on 7 (V100), else fp32, as on the CPU."""
    major = min(((gpu.capability or (0, 0))[0] for gpu in gpus), default=0)
    return "bf16" if major >= 8 else "fp16" if major == 7 else "fp32"


def serving_bytes(facts: ModelFacts, device: str, precision_bytes: int) -> int:
    """What a loaded model takes while it answers, in bytes, without a cache; `device` is cpu or cuda.

    On the CPU not less than its files: they are mapped while they are read.
    """
    weights = precision_bytes * facts.parameters
    if device == "cpu" or facts.dtype not in ("float64", "float32", "float16", "bfloat16"):
        weights = max(weights, facts.size_bytes)
    return int(weights * SERVING_FACTOR) + RUNTIME_BYTES


def cache_bytes(
    facts: ModelFacts, config: Mapping[str, Any] | None, device: str, precision_bytes: int, room_bytes: int
) -> int:
    """What a replica on that device keeps for keys and values, in bytes; 0 for a model that writes no texts.

    On a card for 65,536 tokens, or the model's context where that is longer; never more than the share of
    `room_bytes`, which is what the device has beside the model.
    """
    if facts.task != "text-generation":
        return 0
    most = MOST_CACHED_TOKENS[device]
    tokens = most if device == "cpu" else min(most, max(LEASED_TOKENS, facts.context_length or 0))
    wanted = tokens * precision_bytes * _shape(facts, config).cached
    return min(wanted, int(CACHE_SHARE[device] * max(0, room_bytes)))


def cache_room(share_bytes: int, loaded_bytes: int) -> int:
    """What a share of a card leaves for the cache, in bytes, once the weights of a model are loaded."""
    return max(0, share_bytes - int(loaded_bytes * SERVING_FACTOR) - RUNTIME_BYTES)


@dataclass(frozen=True)
class _Shape:
    layers: int
    hidden: int
    heads: int
    cached: int  # numbers that the cache keeps of a token: 2 x layers x kv_heads x head_dim
    vocabulary: int
    is_known: bool


def _shape(facts: ModelFacts, config: Mapping[str, Any] | None) -> _Shape:
    """As config.json has it; else of a transformer of that size, with 12 h^2 weights a layer and h = 64 x layers."""
    config = config or {}
    inner = config.get("text_config")
    given = inner if isinstance(inner, Mapping) else config
    layers, hidden, heads = _first(given, _LAYERS), _first(given, _HIDDEN), _first(given, _HEADS)
    vocabulary = _first(given, ("vocab_size",)) or 0
    if not layers or not hidden or not heads:
        layers = max(1, round((facts.parameters / (12 * 64**2)) ** (1 / 3)))
        return _Shape(layers, 64 * layers, layers, 2 * layers * 64 * layers, vocabulary, False)
    head_dim = _first(given, _HEAD_DIM) or hidden // heads
    cached = 2 * layers * (_first(given, _KV_HEADS) or heads) * head_dim
    return _Shape(layers + (_first(given, _DECODER_LAYERS) or 0), hidden, heads, cached, vocabulary, True)


def _first(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The first of these fields that is a size. Whoever uploads a model writes its config."""
    values = (config.get(name) for name in names)
    return next((value for value in values if type(value) is int and 0 < value < LARGEST_FIELD), None)


def _serving(facts: ModelFacts, shape: _Shape, device: str, precision_bytes: int) -> Memory:
    size = serving_bytes(facts, device, precision_bytes)
    assumed = ["weights in float32" if precision_bytes == 4 else "weights in bf16 or fp16", "a fifth for a batch"]
    if facts.task == "text-generation":
        tokens = MOST_CACHED_TOKENS["cpu"]
        size += tokens * precision_bytes * shape.cached
        assumed.append(f"a cache of keys and values for {tokens:,} tokens")
    return Memory(size, (*assumed, *_guessed(facts, shape, cache=True)))


def _training(facts: ModelFacts, shape: _Shape, method: str, precision: str, batch: int) -> Memory:
    """On one device: weights, gradients, moments and the activations of `batch` rows."""
    each, tokens = PRECISION_BYTES[precision], _tokens(facts)
    if method == "full":
        kept, what = TRAINED_BYTES * facts.parameters, "AdamW, 16 bytes a parameter"
    else:
        kept = int(facts.parameters * (each + LORA_SHARE * TRAINED_BYTES))
        what = f"weights frozen in {precision}, 1 % of the parameters trained"
    layer = 34 * tokens * batch * shape.hidden + 5 * shape.heads * tokens**2 * batch
    activations = shape.layers * layer * each // 2
    if facts.task in WRITES_WORDS:
        activations += LOGIT_BYTES * tokens * batch * shape.vocabulary
    rows = f"{batch} row{'s' if batch > 1 else ''} of {tokens} tokens"
    return Memory(kept + activations + RUNTIME_BYTES, (what, rows, *_guessed(facts, shape, cache=False)))


def _guessed(facts: ModelFacts, shape: _Shape, *, cache: bool) -> tuple[str, ...]:
    is_used = not cache or facts.task == "text-generation"
    return ("layers and width guessed from the size",) if is_used and not shape.is_known else ()


def _tokens(facts: ModelFacts) -> int:
    return min(facts.context_length or USUAL_TOKENS, USUAL_TOKENS)


def _reason(gpus: Sequence[GpuLike]) -> str:
    if not gpus:
        return "no GPU that can be used was found: on the CPU"
    major, minor = min(gpu.capability or (0, 0) for gpu in gpus)
    return f"compute capability {major}.{minor}" if major else "a GPU of unknown compute capability"


def _plain_dict(value: Mapping[str, Any]) -> dict[str, Any]:
    """With lists for tuples, as JSON has them."""
    return {key: _plain(item) for key, item in value.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain_dict(value)
    return list(value) if isinstance(value, tuple) else value
