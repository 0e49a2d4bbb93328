"""Tiny decoder-only models of several families, with a byte-level tokenizer made here.

    tiny_llama(folder)         the plain case: it also chats (CHAT_TEMPLATE)
    tiny_causal(folder, "gpt2")   any of CAUSAL_FAMILIES, by transformers' name of it

The tokenizer reads every text: bytes, and the words of WORDS as single tokens. The same seed gives the same weights.
What they write is noise, though not the same noise for two texts.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bedplate_serving.testing.encoders import WORDS

__all__ = ["CAUSAL_FAMILIES", "CHAT_TEMPLATE", "tiny_causal", "tiny_llama"]

POSITIONS = 128
PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
}
GROUPED = {**COMMON, "num_key_value_heads": 2}
CAUSAL_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "mistral": {**GROUPED, "sliding_window": 8},
    "gemma": {**GROUPED, "head_dim": 8},
    "phi": COMMON,
    "gpt_neox": COMMON,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},
    "opt": {**COMMON, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": POSITIONS},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
}


def tiny_llama(folder: Path, seed: int = 0, *, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """`chat_template`: another one, or none."""
    return tiny_causal(folder, "llama", seed, chat_template=chat_template)


def tiny_causal(folder: Path, family: str, seed: int = 0, *, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Writes a model of the family with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    vocabulary = _save_tokenizer(folder, chat_template)
    special = {"pad_token_id": vocabulary[PAD], "bos_token_id": vocabulary[START], "eos_token_id": vocabulary[END]}
    config = AutoConfig.for_model(family, vocab_size=len(vocabulary), **special, **CAUSAL_FAMILIES[family])
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # wider than the usual 0.02, so that texts differ from prompt to prompt
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    model.eval().save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path, chat_template: str | None) -> dict[str, int]:
    """Bytes, then one merge after the other that makes the words. Gives back its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[PAD, START, END], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(WORDS)], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (PAD, START, END)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": START,
        "eos_token": END,
        "pad_token": PAD,
    }
    if chat_template is not None:
        settings["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True))
    return dict(tokenizer.get_vocab())
