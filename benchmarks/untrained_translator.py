"""A small Marian with random weights and a vocabulary of its own, learned from the texts it is trained on."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

__all__ = ["make_translator"]

PIECES = 8000
LAYERS, WIDTH, HEADS = 3, 256, 4


def make_translator(folder: Path, texts: Iterable[str]) -> Path:
    """Three layers on either side, 256 wide; the same texts give the same model."""
    import sentencepiece
    import torch
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=written, vocab_size=PIECES, minloglevel=2, num_threads=1
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(written.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [processor.id_to_piece(number) for number in range(3, processor.get_piece_size())]
    tokens = ["</s>", "<unk>", *pieces, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    files = {"source_spm": str(folder / "source.spm"), "target_spm": str(folder / "target.spm")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = MarianTokenizer(**files, vocab=str(folder / "vocab.json"), model_max_length=128)
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _SIZES.items()}
    special = {"pad_token_id": len(tokens) - 1, "decoder_start_token_id": len(tokens) - 1, "eos_token_id": 0}
    config = MarianConfig(
        vocab_size=len(tokens), d_model=WIDTH, max_position_embeddings=128, scale_embedding=True, **special, **sizes
    )
    torch.manual_seed(0)
    MarianMTModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_SIZES = {"layers": LAYERS, "attention_heads": HEADS, "ffn_dim": 4 * WIDTH}
