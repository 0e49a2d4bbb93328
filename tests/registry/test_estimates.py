"""What a model takes, against figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bedplate_registry.estimates import MOST_CACHED_TOKENS, cache_bytes, cache_room, estimate, recommend, serving_bytes
from bedplate_registry.models import ModelFacts

GIB = 1 << 30
BERT = ModelFacts(None, "BertModel", "bert", 110_000_000, "float32", 440_000_000, context_length=512)
BERT_CONFIG = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "vocab_size": 30522}
LLAMA = ModelFacts(
    "text-generation", "LlamaForCausalLM", "llama", 8_000_000_000, "bfloat16", 16_000_000_000, context_length=131_072
)
LLAMA_CONFIG = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}


@dataclass(frozen=True)
class Card:
    memory_bytes: int
    capability: tuple[int, int] | None


def cards(*gib: int, capability: tuple[int, int] | None = (8, 0)) -> list[Card]:
    return [Card(size * GIB, capability) for size in gib]


def test_serving_takes_float32_on_a_cpu_and_half_of_that_on_a_card() -> None:
    found = estimate(BERT, BERT_CONFIG)
    assert found.serve_cpu.size_bytes == int(440_000_000 * 1.2) + GIB
    assert found.serve_gpu.size_bytes == int(220_000_000 * 1.2) + GIB
    assert "weights in float32" in found.serve_cpu.assumed
    assert found.cache_token_bytes is None


def test_a_model_that_writes_texts_takes_its_cache_as_well() -> None:
    found = estimate(LLAMA, LLAMA_CONFIG)
    assert found.cache_token_bytes == 128 * 1024  # what is known of Llama 3 8B
    assert found.serve_gpu.size_bytes == int(16_000_000_000 * 1.2) + GIB + 8192 * 128 * 1024
    assert "a cache of keys and values for 8,192 tokens" in found.serve_gpu.assumed


def test_training_takes_16_bytes_a_parameter_and_the_activations_of_its_rows() -> None:
    activations = 12 * (34 * 512 * 768 + 5 * 12 * 512**2)  # Korthikanti et al. 2022, one row
    full, lora = estimate(BERT, BERT_CONFIG).finetune_full, estimate(BERT, BERT_CONFIG).finetune_lora
    assert full is not None and lora is not None
    assert full.size_bytes == 16 * 110_000_000 + activations + GIB
    assert lora.size_bytes == int(110_000_000 * 2.16) + activations + GIB
    assert full.assumed == ("AdamW, 16 bytes a parameter", "1 row of 512 tokens")


def test_a_model_that_makes_images_is_not_fine_tuned() -> None:
    images = replace(BERT, task="text-to-image")
    assert (estimate(images).finetune_full, estimate(images).finetune_lora) == (None, None)
    assert recommend(images, cards(80)).batch_size is None


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 0), "fp16"), ((6, 1), "fp32"), (None, "fp32")],
)
def test_the_precision_is_what_the_card_is_built_for(capability: tuple[int, int] | None, precision: str) -> None:
    found = recommend(BERT, cards(32, capability=capability), BERT_CONFIG)
    assert (found.device, found.precision) == ("cuda", precision)


def test_the_batch_is_the_largest_power_of_two_that_fits_the_smallest_card() -> None:
    found = recommend(BERT, [*cards(80), *cards(16, capability=(7, 0))], BERT_CONFIG)
    assert (found.precision, found.method, found.batch_size, found.tokens) == ("fp16", "full", 32, 512)
    row = 12 * (34 * 512 * 768 + 5 * 12 * 512**2)
    assert found.memory_bytes == 16 * 110_000_000 + 32 * row + GIB
    assert found.memory_bytes < 0.9 * 16 * GIB < found.memory_bytes + 32 * row


def test_where_all_weights_do_not_fit_it_is_lora_and_says_so() -> None:
    found = recommend(LLAMA, cards(80), LLAMA_CONFIG)
    assert (found.method, found.batch_size) == ("lora", 8)
    assert "training all weights does not fit" in found.reasons


def test_where_nothing_fits_it_says_what_one_row_would_take() -> None:
    found = recommend(LLAMA, cards(16, capability=(7, 5)), LLAMA_CONFIG)
    assert (found.method, found.batch_size, found.memory_bytes) == (None, None, None)
    assert "one row with LoRA takes 21.0 GiB, and the device has 16.0 GiB" in " ".join(found.reasons)


def test_without_a_card_it_is_for_the_cpu_and_says_so() -> None:
    found = recommend(BERT, [], BERT_CONFIG, memory_bytes=16 * GIB)
    assert (found.device, found.precision, found.batch_size) == ("cpu", "fp32", 16)
    assert "no GPU" in found.reasons[0]
    assert recommend(BERT, [], BERT_CONFIG).batch_size is None


def test_without_a_config_the_shape_is_guessed_and_that_is_said() -> None:
    guessed, known = estimate(BERT).finetune_full, estimate(BERT, BERT_CONFIG).finetune_full
    assert guessed is not None and known is not None
    assert "layers and width guessed from the size" in guessed.assumed
    assert 0.8 < guessed.size_bytes / known.size_bytes < 1.25


@pytest.mark.parametrize("wrong", [-1, 0, True, "12", 1 << 40, None, [12], 1.5])
def test_a_config_of_nonsense_is_no_config(wrong: Any) -> None:
    config = dict.fromkeys((*LLAMA_CONFIG, "text_config", "head_dim"), wrong)
    assert estimate(LLAMA, config) == estimate(LLAMA)


def test_other_names_of_the_same_fields_are_known() -> None:
    shape = {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 30522}
    assert estimate(BERT, shape) == estimate(BERT, {"dim": 768, "n_layers": 12, "n_heads": 12, "vocab_size": 30522})
    assert estimate(BERT, {"text_config": BERT_CONFIG}) == estimate(BERT, BERT_CONFIG) == estimate(BERT, shape)


def test_the_cache_of_a_replica_is_bounded_by_a_share_of_the_device() -> None:
    each = 128 * 1024
    assert cache_bytes(LLAMA, LLAMA_CONFIG, "cuda", 2, 400 * GIB) == 131_072 * each
    assert cache_bytes(LLAMA, LLAMA_CONFIG, "cuda", 2, 16 * GIB) == 8 * GIB
    assert cache_bytes(replace(LLAMA, context_length=8192), LLAMA_CONFIG, "cuda", 2, 400 * GIB) == 65_536 * each
    assert cache_bytes(LLAMA, LLAMA_CONFIG, "cpu", 4, 400 * GIB) == MOST_CACHED_TOKENS["cpu"] * 2 * each
    assert cache_bytes(LLAMA, LLAMA_CONFIG, "cpu", 4, -5) == 0
    assert cache_bytes(BERT, BERT_CONFIG, "cuda", 2, 400 * GIB) == 0


def test_what_is_leased_beside_the_weights_is_what_the_cache_takes() -> None:
    cache = cache_bytes(LLAMA, LLAMA_CONFIG, "cuda", 2, 60 * GIB)
    leased = serving_bytes(LLAMA, "cuda", 2) + cache
    assert cache_room(leased, 2 * LLAMA.parameters) == cache
    assert cache_room(GIB, 2 * LLAMA.parameters) == 0


def test_weights_that_are_quantized_take_what_their_files_do() -> None:
    packed = replace(LLAMA, dtype="int8", parameters=1_000_000_000, size_bytes=8_500_000_000)
    assert serving_bytes(packed, "cuda", 2) == int(8_500_000_000 * 1.2) + GIB


def test_both_are_plain_json() -> None:
    assert json.loads(json.dumps(estimate(LLAMA).to_json()))["finetune_full"]["assumed"]
    assert json.loads(json.dumps(recommend(BERT, cards(80)).to_json()))["batch_size"] == 128
