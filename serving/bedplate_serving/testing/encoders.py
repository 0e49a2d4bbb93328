"""Tiny encoders with random weights: a BERT with a WordPiece tokenizer, or another of FAMILIES.

    tiny_text_classifier(folder, labels=("refund", "login"))      a classifier with a head
    tiny_encoder(folder)                                           the same without a head: a base
    tiny_token_classifier(folder, family="roberta")                heads for single tokens, in every family
    tiny_question_answerer(folder), tiny_masked_lm(folder)

The tokenizers read words of WORDS and, for all else, single letters or bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "FAMILIES",
    "SHAPES",
    "WORDS",
    "tiny_encoder",
    "tiny_masked_lm",
    "tiny_question_answerer",
    "tiny_text_classifier",
    "tiny_token_classifier",
]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # of WordPiece
MARKS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # of the others
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
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


class Family(NamedTuple):
    """How an architecture is made."""

    name: str  # as transformers' classes start
    tokenizer: str  # wordpiece | bytes (byte-level BPE) | unigram (as SentencePiece has it)
    has_type_ids: bool = False
    extra_positions: int = 0  # RoBERTa counts from the one after padding
    settings: dict[str, Any] = {}  # noqa: RUF012 - read only


_RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
FAMILIES: dict[str, Family] = {
    "bert": Family("Bert", "wordpiece", has_type_ids=True),
    "distilbert": Family("DistilBert", "wordpiece"),
    "roberta": Family("Roberta", "bytes", extra_positions=2, settings={"type_vocab_size": 1}),
    "xlm-roberta": Family("XLMRoberta", "unigram", extra_positions=2, settings={"type_vocab_size": 1}),
    "modernbert": Family("ModernBert", "bytes", settings={"local_attention": 16}),
    "deberta-v2": Family("DebertaV2", "unigram", has_type_ids=True, settings={"type_vocab_size": 0, **_RELATIVE}),
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


def tiny_token_classifier(
    folder: Path, labels: Sequence[str] = TAGS, seed: int = 0, max_positions: int = 64, *, family: str = "bert"
) -> Path:
    """Writes a model that tags each token."""
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    return _save_family(family, "ForTokenClassification", folder, seed, max_positions, **names)


def tiny_question_answerer(folder: Path, seed: int = 0, max_positions: int = 64, *, family: str = "bert") -> Path:
    """Writes a model that finds where an answer starts and ends."""
    return _save_family(family, "ForQuestionAnswering", folder, seed, max_positions)


def tiny_masked_lm(folder: Path, seed: int = 0, max_positions: int = 64, *, family: str = "bert") -> Path:
    """Writes a model that guesses masked words."""
    return _save_family(family, "ForMaskedLM", folder, seed, max_positions)


def _save_family(name: str, head: str, folder: Path, seed: int, max_positions: int, **more: Any) -> Path:
    import transformers

    family = FAMILIES[name]
    tokenizer = TOKENIZERS[family.tokenizer]()
    sizes = {**SHAPES["tiny"], "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}  # the latter are DistilBERT's
    ids = {f"{role}_token_id": tokenizer.token_to_id(token) for role, token in _roles(family.tokenizer).items()}
    config = getattr(transformers, f"{family.name}Config")(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=max_positions + family.extra_positions,
        **{role: ids[role] for role in ("pad_token_id", "cls_token_id", "sep_token_id")},
        bos_token_id=ids["cls_token_id"],
        eos_token_id=ids["sep_token_id"],
        **{**sizes, **family.settings, **more},
    )
    _save_model(getattr(transformers, f"{family.name}{head}"), config, folder, seed)
    _write_tokenizer(folder, tokenizer, max_positions, _roles(family.tokenizer), has_type_ids=family.has_type_ids)
    return folder


def _config(max_positions: int, shape: str, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(_vocabulary()), max_position_embeddings=max_positions, pad_token_id=0, **SHAPES[shape], **more
    )


def _save(model_class: Any, config: Any, folder: Path, seed: int, max_positions: int) -> Path:
    _save_model(model_class, config, folder, seed)
    _write_tokenizer(folder, _wordpiece(), max_positions, _roles("wordpiece"), has_type_ids=True)
    return folder


def _save_model(model_class: Any, config: Any, folder: Path, seed: int) -> None:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        for parameter in model.parameters():  # wider than the usual 0.02, so that answers differ from text to text
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    model.eval().save_pretrained(folder)


def _vocabulary() -> dict[str, int]:
    letters = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return {token: index for index, token in enumerate([*SPECIAL, *letters, *(w for w in WORDS if len(w) > 1)])}


def _wordpiece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = _vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token, not a secret
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _byte_level() -> Any:
    """As RoBERTa's: a word is told by the blank in front of it (written \u0120), and all else falls into bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    tokens = [*MARKS[:-1], *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for end in range(1, len(word) + 1):
            pair = ("\u0120" + word[: end - 1], word[end - 1])
            if pair not in merges:
                merges.append(pair)
                tokens.append("".join(pair))
    vocabulary = {token: index for index, token in enumerate([*tokens, MARKS[-1]])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    ends = ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"])
    tokenizer.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    return _with_marks(tokenizer)


def _unigram() -> Any:
    """As SentencePiece's: a blank is a letter of the word behind it (written \u2581), and so is punctuation."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = [("\u2581", -6.0), *((f"\u2581{word}", -4.0) for word in WORDS), *((one, -9.0) for one in LETTERS)]
    vocabulary = [*((mark, 0.0) for mark in MARKS[:-1]), *pieces, (MARKS[-1], 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=MARKS.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", MARKS.index("<s>")), ("</s>", MARKS.index("</s>"))],
    )
    return _with_marks(tokenizer)


def _with_marks(tokenizer: Any) -> Any:
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([*MARKS[:-1], AddedToken(MARKS[-1], lstrip=True)])  # the mask takes its blank along
    return tokenizer


TOKENIZERS = {"wordpiece": _wordpiece, "bytes": _byte_level, "unigram": _unigram}


def _roles(kind: str) -> dict[str, str]:
    tokens = SPECIAL if kind == "wordpiece" else ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
    return dict(zip(("pad", "unk", "cls", "sep", "mask"), tokens, strict=True))


def _write_tokenizer(
    folder: Path, tokenizer: Any, max_positions: int, roles: dict[str, str], *, has_type_ids: bool
) -> None:
    """Two files by hand: the tokenizer library's own format, so that nothing but its reader is trusted."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_positions,
        "model_input_names": ["input_ids", *(["token_type_ids"] if has_type_ids else []), "attention_mask"],
        **{f"{role}_token": token for role, token in roles.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True))
