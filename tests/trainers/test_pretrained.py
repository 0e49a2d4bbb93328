"""What is read off a pretrained model before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from bedplate_trainers.pretrained import figures_of, load_tokenizer

# Their positions start after the number of the padding token, so the table has two rows that no text reaches.
OFFSET = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
USUAL = ("bert", "distilbert", "electra")
POSITIONS = 34


@pytest.fixture(scope="module")
def unlimited(base_dir: Path) -> Any:
    """A tokenizer that states no limit."""
    tokenizer = load_tokenizer(base_dir)
    tokenizer.model_max_length = int(1e30)
    return tokenizer


def tiny(model_type: str) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    own = {"longformer": {"attention_window": [4]}, "xmod": {"default_language": "en_XX"}}.get(model_type, {})
    padding = 1 if model_type in OFFSET else 0
    config = AutoConfig.for_model(
        model_type, vocab_size=50, max_position_embeddings=POSITIONS, pad_token_id=padding, **sizes, **own
    )
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.mark.parametrize("model_type", [*OFFSET, *USUAL])
def test_the_context_is_the_longest_text_that_the_model_takes(model_type: str, unlimited: Any) -> None:
    model = tiny(model_type)
    length = figures_of(model, unlimited).context_length
    assert length == (POSITIONS - 2 if model_type in OFFSET else POSITIONS)
    with torch.inference_mode():
        assert model(torch.full((1, length), 7)).logits.isfinite().all()
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, length + 4), 7))


def test_a_smaller_limit_of_the_tokenizer_counts(base_dir: Path) -> None:
    assert figures_of(tiny("bert"), load_tokenizer(base_dir)).context_length == POSITIONS
    tokenizer = load_tokenizer(base_dir)
    tokenizer.model_max_length = 20
    assert figures_of(tiny("bert"), tokenizer).context_length == 20
