"""Tiny encoders: a BERT with random weights and a WordPiece tokenizer.

    tiny_text_classifier(folder, labels=("refund", "login"))      a classifier with a head
    tiny_encoder(folder)                                           the same without a head: a base

The tokenizer reads words of WORDS and, for all else, single letters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["SHAPES", "WORDS", "tiny_encoder", "tiny_text_classifier"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (  # noqa: SIM905 - sixty words read better as a sentence
    "the a an i my your we it is was not can will to of for in on and or with from please help why how when"
    " card lost stolen refund money account login password reset invoice payment order late delivery cancel"
    " phone app crash error broken slow price plan upgrade thanks good bad happy angry sad great terrible"
).split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
}


def tiny_text_classifier(
    folder: Path,
    labels: Sequence[str] = ("negative", "positive"),
    seed: int = 0,
    max_positions: int = 64,
    *,
    shape: str = "tiny",
    multi_label: bool = False,
) -> Path:
    """Writes a text classifier with random weights; the same seed gives the same bytes."""
    from transformers import BertForSequenceClassification

    config = _config(
        max_positions,
        shape,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
    )
    return _save(BertForSequenceClassification, config, folder, seed, max_positions)


def tiny_encoder(folder: Path, seed: int = 0, max_positions: int = 64, *, shape: str = "tiny") -> Path:
    """Writes an encoder without a head, as a sentence-embedding model comes from the Hub."""
    from transformers import BertModel

    return _save(BertModel, _config(max_positions, shape), folder, seed, max_positions)


def _config(max_positions: int, shape: str, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(_vocabulary()), max_position_embeddings=max_positions, pad_token_id=0, **SHAPES[shape], **more
    )


def _save(model_class: Any, config: Any, folder: Path, seed: int, max_positions: int) -> Path:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        for parameter in model.parameters():  # wider than the usual 0.02, so that answers differ from text to text
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    model.eval().save_pretrained(folder)
    _save_tokenizer(folder, max_positions)
    return folder


def _vocabulary() -> dict[str, int]:
    letters = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return {token: index for index, token in enumerate([*SPECIAL, *letters, *(w for w in WORDS if len(w) > 1)])}


def _save_tokenizer(folder: Path, max_positions: int) -> None:
    """Two files by hand: the tokenizer library's own format, so that nothing but its reader is trusted."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = _vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token, not a secret
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_positions,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in names.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True))
