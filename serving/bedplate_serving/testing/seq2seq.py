"""Tiny encoder-decoders of every family that is served, with tokenizers made here.

    tiny_t5(folder)       task prefixes          tiny_mbart(folder)     en_XX; the decoder starts with the language
    tiny_bart(folder)     byte-level words       tiny_mbart50(folder)   en_XX; the language is forced as first token
    tiny_led(folder)      the same, long         tiny_m2m100(folder)    en; a Python tokenizer
    tiny_pegasus(folder)                         tiny_nllb(folder)      eng_Latn
    tiny_encoder_decoder(folder)  two BERTs      tiny_marian(folder)    >>fra<<; a Python tokenizer

The same seed gives the same weights. What they write is noise, though not the same noise for two texts.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bedplate_serving.testing.encoders import WORDS, tiny_encoder

__all__ = [
    "tiny_bart",
    "tiny_encoder_decoder",
    "tiny_led",
    "tiny_m2m100",
    "tiny_marian",
    "tiny_mbart",
    "tiny_mbart50",
    "tiny_nllb",
    "tiny_pegasus",
    "tiny_t5",
]

POSITIONS = 64
MARIAN_LANGUAGES = (">>fra<<", ">>spa<<", ">>deu<<")
T5_TASKS: Mapping[str, Any] = {
    "summarization": {"prefix": "summarize: ", "max_length": 30, "min_length": 2, "num_beams": 1},
    "translation_en_to_de": {"prefix": "translate English to German: ", "max_length": 24},
    "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 24},
}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"()<>-_äöüßéèñçøœ日本語文字"
CORPUS = [" ".join(WORDS), " ".join(reversed(WORDS)), *(" ".join(letter) for letter in (LETTERS, LETTERS[::-1]))]
BART_SIZES = {
    "d_model": 32,
    **{f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in (("layers", 2), ("ffn_dim", 64))},
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}


def tiny_t5(folder: Path, seed: int = 0) -> Path:
    """Reads texts of up to 64 tokens, as its tokenizer says: T5 itself has no limit of positions."""
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    tokenizer = T5Tokenizer(vocab=_unigrams("<pad>", "</s>", "<unk>"), extra_ids=0, model_max_length=POSITIONS)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=len(tokenizer), **sizes)
    return _save(folder, T5ForConditionalGeneration, config, tokenizer, seed, task_specific_params=T5_TASKS)


def tiny_bart(folder: Path, seed: int = 0) -> Path:
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = _byte_level()
    config = BartConfig(vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, **BART_SIZES)
    return _save(folder, BartForConditionalGeneration, config, tokenizer, seed)


def tiny_led(folder: Path, seed: int = 0) -> Path:
    """BART with windows of attention: reads four times as much as it writes."""
    from transformers import LEDConfig, LEDForConditionalGeneration

    tokenizer = _byte_level(4 * POSITIONS)
    positions = {"max_encoder_position_embeddings": 4 * POSITIONS, "max_decoder_position_embeddings": POSITIONS}
    config = LEDConfig(vocab_size=len(tokenizer), attention_window=[8, 8], **positions, **BART_SIZES)
    return _save(folder, LEDForConditionalGeneration, config, tokenizer, seed)


def tiny_pegasus(folder: Path, seed: int = 0) -> Path:
    from transformers import PegasusConfig, PegasusForConditionalGeneration, PegasusTokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_unigrams("<mask_2>", "<mask_1>")]
    tokenizer = PegasusTokenizer(vocab=vocabulary, offset=5, model_max_length=POSITIONS)
    config = PegasusConfig(vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, **BART_SIZES)
    return _save(folder, PegasusForConditionalGeneration, config, tokenizer, seed)


def tiny_mbart(folder: Path, seed: int = 0) -> Path:
    from transformers import MBartTokenizer

    return _mbart(folder, MBartTokenizer, seed)


def tiny_mbart50(folder: Path, seed: int = 0) -> Path:
    from transformers import MBart50Tokenizer

    return _mbart(folder, MBart50Tokenizer, seed)


def _mbart(folder: Path, kind: Any, seed: int) -> Path:
    from transformers import MBartConfig, MBartForConditionalGeneration

    plain = kind()
    codes = [code for code in plain.lang_code_to_id if code.isascii()]
    vocabulary = [*_unigrams("<s>", "<pad>", "</s>", "<unk>"), *((code, 0.0) for code in codes), ("<mask>", 0.0)]
    tokenizer = kind(vocab=vocabulary, src_lang="en_XX", model_max_length=POSITIONS)
    config = MBartConfig(vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, **BART_SIZES)
    config.decoder_start_token_id = 2
    return _save(folder, MBartForConditionalGeneration, config, tokenizer, seed)


def tiny_nllb(folder: Path, seed: int = 0) -> Path:
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    pieces = [piece for piece, _ in _unigrams("<s>", "<pad>", "</s>", "<unk>")]
    letters = [piece for piece in pieces if len(piece) == 1 or piece.startswith("<")]
    tokenizer = NllbTokenizer(
        vocab={piece: number for number, piece in enumerate(letters)},
        merges=[],
        src_lang="eng_Latn",
        extra_special_tokens=["eng_Latn", "fra_Latn", "spa_Latn", "deu_Latn", "zho_Hans"],
        model_max_length=POSITIONS,
    )
    config = M2M100Config(vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, **BART_SIZES)
    return _save(folder, M2M100ForConditionalGeneration, config, tokenizer, seed)


def tiny_m2m100(folder: Path, seed: int = 0) -> Path:
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = _sentencepiece(folder / "sentencepiece.bpe.model")
    _write_vocabulary(folder, ["<s>", "<pad>", "</s>", "<unk>", *pieces])
    files = {"vocab_file": str(folder / "vocab.json"), "spm_file": str(folder / "sentencepiece.bpe.model")}
    tokenizer = M2M100Tokenizer(**files, src_lang="en", model_max_length=POSITIONS)
    size = len(tokenizer.encoder) + len(tokenizer.lang_code_to_id) + tokenizer.num_madeup_words
    config = M2M100Config(vocab_size=size, max_position_embeddings=POSITIONS, **BART_SIZES)
    return _save(folder, M2M100ForConditionalGeneration, config, tokenizer, seed)


def tiny_marian(folder: Path, seed: int = 0, languages: Sequence[str] = MARIAN_LANGUAGES) -> Path:
    """One of several target languages; without `languages`, from English to German and nothing else."""
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = _sentencepiece(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    tokens = ["</s>", "<unk>", *pieces, *languages, "<pad>"]
    _write_vocabulary(folder, tokens)
    files = {"source_spm": str(folder / "source.spm"), "target_spm": str(folder / "target.spm")}
    direction = {} if languages else {"source_lang": "en", "target_lang": "de"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends a package that it makes no use of
        tokenizer = MarianTokenizer(**files, vocab=str(folder / "vocab.json"), model_max_length=POSITIONS, **direction)
    special = {"pad_token_id": len(tokens) - 1, "decoder_start_token_id": len(tokens) - 1, "eos_token_id": 0}
    config = MarianConfig(
        vocab_size=len(tokens), max_position_embeddings=POSITIONS, scale_embedding=True, **special, **BART_SIZES
    )
    return _save(folder, MarianMTModel, config, tokenizer, seed)


def tiny_encoder_decoder(folder: Path, seed: int = 0) -> Path:
    from transformers import BertConfig, EncoderDecoderConfig, EncoderDecoderModel

    tiny_encoder(folder)  # for its tokenizer
    part = BertConfig.from_pretrained(folder)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(part, BertConfig(**part.to_dict()))
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 2, 3, 0  # [CLS], [SEP], [PAD]
    return _save(folder, EncoderDecoderModel, config, None, seed)


def _unigrams(*special: str) -> list[tuple[str, float]]:
    """Words, and letters for all else: a vocabulary of a Unigram model with its scores."""
    words = [(f"▁{word}", -3.0) for word in WORDS]
    return [*((token, 0.0) for token in special), *words, ("▁", -4.0), *((letter, -6.0) for letter in LETTERS)]


def _byte_level(max_length: int = POSITIONS) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BartTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(CORPUS[:2], trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return BartTokenizer(vocab=model["vocab"], merges=merges, model_max_length=max_length)


def _sentencepiece(path: Path) -> list[str]:
    """Writes a model of sentencepiece; returns its pieces, without the special ones."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        vocab_size=180,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    path.write_bytes(written.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return [processor.id_to_piece(number) for number in range(3, processor.get_piece_size())]


def _write_vocabulary(folder: Path, tokens: Sequence[str]) -> None:
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))


def _spread(model: Any) -> None:
    """Random weights wider than the usual 0.02, and most so where the source is read: what is written follows from it.
    Norms that turn signs keep a decoder whose embeddings are tied from writing the same token for ever.
    """
    from torch.nn.init import normal_

    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            reads_source = "encoder_attn" in name or "crossattention" in name
            normal_(parameter, std=(8.0 if reads_source else 1.0) / parameter.shape[-1] ** 0.5)
        elif "norm" in name.lower() and name.endswith("weight"):
            parameter.data = normal_(parameter.data).sign()


def _save(folder: Path, model_class: Any, config: Any, tokenizer: Any, seed: int, **settings: Any) -> Path:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        _spread(model)
    for name, value in settings.items():
        setattr(model.config, name, value)
    model.tie_weights()
    model.eval().save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder
