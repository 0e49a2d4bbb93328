"""Translations of labeled rows: BLEU and chrF, the rows with the lowest chrF, and beside them the source as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.writing import WritingExaminer, Written
from bedplate_trainers.text_pairs import TextPairs

__all__ = ["Examiner", "bleu_counts", "bleu_figures"]

Array = np.ndarray[Any, Any]


class Examiner(WritingExaminer):
    """examiners.base.Examiner for translations."""

    task = "translation"
    margin = 10.0  # of chrf

    def parameters(self) -> dict[str, Any]:
        """The languages, where a model must be told."""
        settings = self._setup.settings
        given = {"src_lang": settings.source_lang, "tgt_lang": settings.target_lang}
        return {name: code for name, code in given.items() if code}

    def judge(self, folder: Path, rows: TextPairs, phase: str = "evaluate", derived: Path | None = None) -> Written:
        try:
            return super().judge(folder, rows, phase, derived)
        except Refused as error:
            if self.parameters() or "src_lang and tgt_lang" not in error.message:
                raise
            raise Refused(  # it is no row's fault, and here the languages have other names
                "The model translates between several languages, and was not told which.",
                hint="Set them in the model's own codes: --set source_lang=en --set target_lang=de",
                code="no-language",
            ) from error

    def counts(self, judged: Written) -> Array:
        return bleu_counts(judged.texts, judged.predictions.references, judged.predictions.tokenizer)

    def figures(self, sums: Array) -> Mapping[str, Array]:
        return bleu_figures(sums)

    def row_scores(self, judged: Written) -> tuple[str, Array]:
        from sacrebleu.metrics import CHRF

        metric, rows = CHRF(), zip(judged.texts, judged.rows, strict=True)
        return "chrf", np.array([metric.sentence_score(text, row.targets).score for text, row in rows])

    def without_model(self, rows: TextPairs, train: TextPairs | None) -> tuple[str, list[str]]:
        """The source as it is: names and numbers are often right."""
        return "copy", [row.source for row in rows]


def bleu_counts(texts: Sequence[str], references: Sequence[Sequence[str]], tokenizer: str) -> Array:
    """[rows, 10]: n-grams that are right and all of them, for n = 1 … 4, then the row's length and the reference's.

    Of several references an n-gram is right as often as any of them has it, and the length is the nearest one.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenizer, effective_order=True)
    scores = [metric.sentence_score(text, right) for text, right in zip(texts, references, strict=True)]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.float64)


def bleu_figures(sums: Array) -> Mapping[str, Array]:
    """BLEU of summed counts: [draws, 10] -> name: [draws]."""
    from sacrebleu.metrics import BLEU

    found = [
        BLEU.compute_bleu(row[:4], row[4:8], row[8], row[9], smooth_method="exp").score
        for row in sums.astype(int).tolist()
    ]
    return {"bleu": np.minimum(np.array(found), 100.0)}
