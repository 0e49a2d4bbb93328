"""A small Marian with random weights and a vocabulary of its own, learned from the texts it is trained on.

The benchmark of Multi30k trains it, and at a smaller size the tests on slices of real data.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

__all__ = ["make_translator"]

HEADS = 4


def make_translator(folder: Path, texts: Iterable[str], pieces: int = 8000, layers: int = 3, width: int = 256) -> Path:
    """So many layers on either side, so many pieces of words; the same texts give the same model."""
    import sentencepiece
    import torch
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=written, vocab_size=pieces, minloglevel=2, num_threads=1
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(written.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    known = [processor.id_to_piece(number) for number in range(3, processor.get_piece_size())]
    tokens = ["</s>", "<unk>", *known, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    files = {"source_spm": str(folder / "source.spm"), "target_spm": str(folder / "target.spm")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = MarianTokenizer(**files, vocab=str(folder / "vocab.json"), model_max_length=128)
    size = {"layers": layers, "attention_heads": HEADS, "ffn_dim": 4 * width}
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in size.items()}
    special = {"pad_token_id": len(tokens) - 1, "decoder_start_token_id": len(tokens) - 1, "eos_token_id": 0}
    config = MarianConfig(
        vocab_size=len(tokens), d_model=width, max_position_embeddings=128, scale_embedding=True, **special, **sizes
    )
    torch.manual_seed(0)
    MarianMTModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
