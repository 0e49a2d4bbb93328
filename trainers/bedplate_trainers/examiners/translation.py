"""Translations of labeled rows: BLEU and chrF, the rows with the lowest chrF, and beside them the source as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.writing import WritingExaminer, Written
from bedplate_trainers.text_pairs import TextPairs

__all__ = ["Examiner"]


class Examiner(WritingExaminer):
    """examiners.base.Examiner for translations."""

    task = "translation"

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

    def without_model(self, rows: TextPairs, train: TextPairs | None) -> tuple[str, list[str]]:
        """The source as it is: names and numbers are often right."""
        return "copy", [row.source for row in rows]
