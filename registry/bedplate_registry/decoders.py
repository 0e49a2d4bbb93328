"""Decoder-only models, and the tasks that transformers has a head for which takes over their weights.

Left out are mixtures of experts, whose layers no LoRA finds, and question answering where the class for it calls the
model inside otherwise than the one that writes (Llama, Qwen, SmolLM3, …): it would begin with random weights.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DECODERS"]

_TEXTS, _TOKENS, _ANSWERS = "text-classification", "token-classification", "question-answering"

# By model type, as config.json names it.
DECODERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("bloom", "falcon", "gpt2", "gpt_neo", "gpt_neox", "ministral3", "mistral", "mpt"), (_TEXTS, _TOKENS, _ANSWERS)
    ),
    **dict.fromkeys(
        (
            *("arcee", "biogpt", "diffllama", "exaone4", "gemma", "gemma2", "glm", "glm4", "gpt_bigcode", "helium"),
            *("llama", "ministral", "nemotron", "persimmon", "phi", "phi3", "qwen2", "qwen3", "seed_oss", "smollm3"),
            *("stablelm", "starcoder2"),
        ),
        (_TEXTS, _TOKENS),
    ),
    **dict.fromkeys(("gptj", "opt"), (_TEXTS, _ANSWERS)),
    **dict.fromkeys(("gemma3_text", "modernbert-decoder", "olmo", "olmo2", "olmo3"), (_TEXTS,)),
    "apertus": (_TOKENS,),
}
