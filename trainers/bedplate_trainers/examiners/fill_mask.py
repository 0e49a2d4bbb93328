"""Fill-mask: how high the right word stands behind a mask, by the predictor that also serves it.

Of rows with an answer its word is looked for; where the model has no single token for it, it can never say it, and its
rank is infinite. Of raw texts, seeded by the row's number, 15 % of the tokens are masked together, as in pretraining.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.base import CutRows, Setup, in_chunks
from bedplate_trainers.examiners.mask_report import Guesses, Judged, difference, make_report
from bedplate_trainers.latency import time_single
from bedplate_trainers.masked import MaskedRow, MaskedRows, read_masked
from bedplate_trainers.messages import DataFile
from bedplate_trainers.metrics.fill_mask import Predictions, rank, score
from bedplate_trainers.predicted import Predicted
from bedplate_trainers.slice_columns import Columns

if TYPE_CHECKING:
    from bedplate_serving.predictors.fill_mask import MaskFiller

__all__ = ["Examiner"]

TASK: Final = "fill-mask"
SHARE = 0.15  # of the tokens of a raw text, as BERT was trained
MOST_MASKS = 64  # of one text, as where it is served; and of one pass, since each is a row of the whole vocabulary
ANY_MASK = r"\[MASK\]|<mask>"  # what stands for the mask of every model
BASELINE_METRICS = ("top1_accuracy", "top5_accuracy", "mrr")


@dataclass(frozen=True)
class Puzzle:
    """A row as the model reads it."""

    row: int
    ids: Sequence[int]  # tokens, masks among them
    right: Sequence[int | None]  # the right token behind each mask; None where the model has no single one
    words: Sequence[str]


class Examiner:
    """examiners.base.Examiner for models that fill masks."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def read(self, file: DataFile, what: str) -> MaskedRows:
        return read_masked(file, self._setup.columns, what)

    def judge(self, folder: Path, rows: MaskedRows, phase: str = "evaluate", derived: Path | None = None) -> Judged:
        """Rows whose masks and words do not go together are refused."""
        from bedplate_serving.predictors import load_predictor
        from bedplate_serving.predictors.fill_mask import MaskFiller

        filler = load_predictor(folder, TASK, device=self._setup.device, derived=derived)
        assert isinstance(filler, MaskFiller)
        puzzles = [self._puzzle(filler, row) for row in rows]
        self._tell_of_unsayable(puzzles)
        cut = CutRows()
        cut.rows.update(puzzle.row for puzzle in puzzles if filler.is_cut(puzzle.ids))
        cut.tell(len(rows), self._setup.reporter)

        def guess(chunk: list[Puzzle]) -> Sequence[Guesses]:
            return [found for some in _passes(chunk) for found in _guesses(filler, some)]

        start = time.perf_counter()
        found = in_chunks(puzzles, lambda puzzle: len(puzzle.ids), guess, self._setup.reporter, phase)
        seconds = time.perf_counter() - start
        latency = time_single(puzzles, guess, self._setup.settings.latency_rows)
        return Judged("model", rows, found, seconds, latency)

    def probe(self, folder: Path, rows: MaskedRows, train: MaskedRows) -> Judged:
        raise Refused(
            f"The model has no head for {TASK}, and there is no probe of one.",
            hint="Evaluate a model that was trained to fill masks.",
            code="no-probe",
        )

    def said(self, rows: MaskedRows, predicted: Sequence[Predicted]) -> Judged:
        """The first guess of each mask is known, and no other."""
        return Judged("predictions", rows, [_said(*both) for both in zip(rows, predicted, strict=True)], 0.0)

    def report(self, judged: Judged, columns: Columns | None = None) -> dict[str, Any]:
        return make_report(judged, self._setup.settings, columns)

    def rows_of(self, judged: Judged) -> Judged:
        return judged

    def difference(self, mine: Judged, other: Judged) -> dict[str, dict[str, float]]:
        return difference(mine, other, self._setup.settings)

    def baselines(self, mine: Judged, train: MaskedRows | None) -> dict[str, dict[str, float]]:
        """`majority` guesses the words that training rows have most often, the commonest first, behind every mask."""
        if train is None or not (train.has_answers and mine.rows.has_answers):
            return {}
        counts = Counter(word for row in train for word in (row.answer or "").split())
        places = {word: place for place, (word, _) in enumerate(counts.most_common(), 1)}
        ranks = [places.get(word, np.inf) for guesses in mine.guesses for word in guesses.words]
        return {"majority": score(Predictions(ranks), BASELINE_METRICS)}

    def _puzzle(self, filler: MaskFiller, row: MaskedRow) -> Puzzle:
        [ids] = filler.tokens([row.text])
        if row.answer is None:
            return self._masked(filler, row, ids)
        masks = [place for place, token in enumerate(ids) if token == filler.mask_token_id]
        if not masks:
            raise Refused(
                f"Row {row.row} has an answer and no mask that this model reads.",
                hint=f"Put {filler.mask_token} where the word is missing, or leave the column answer out.",
                code="bad-rows",
            )
        words = row.words(len(masks))
        return Puzzle(row.row, ids, [_token(filler, row, ids, at, words) for at in range(len(masks))], words)

    def _masked(self, filler: MaskFiller, row: MaskedRow, ids: list[int]) -> Puzzle:
        """A raw text, with masks over some of its tokens: the same ones each time."""
        if not ids or filler.mask_token_id in ids:
            raise Refused(
                f"Row {row.row} {'has a mask and no answer' if ids else 'has no tokens'}.",
                hint="Map a column to answer, or give texts without masks.",
                code="bad-rows",
            )
        generator = np.random.default_rng((self._setup.settings.seed, row.row))
        count = min(max(round(SHARE * len(ids)), 1), MOST_MASKS)
        chosen = sorted(generator.choice(len(ids), count, replace=False).tolist())
        hidden = [filler.mask_token_id if place in set(chosen) else token for place, token in enumerate(ids)]
        right = [ids[place] for place in chosen]
        return Puzzle(row.row, hidden, right, [filler.word(token) for token in right])

    def _tell_of_unsayable(self, puzzles: Sequence[Puzzle]) -> None:
        rows = [puzzle.row for puzzle in puzzles if None in puzzle.right]
        if rows:
            self._setup.reporter.message(
                f"{len(rows)} of {len(puzzles)} rows, the first of them row {rows[0]}, have an answer for which the "
                "model has no single token: it cannot say it, so it counts as not found."
            )


def _said(row: MaskedRow, one: Predicted) -> Guesses:
    """What a file says of the masks of one row. Raises Refused, which names it."""
    if row.answer is None:
        hint = "Predictions are held against words: map a column to answer."
        raise Refused(f"Row {row.row} has no answer.", hint=hint, code="bad-rows")
    masks = len(re.findall(ANY_MASK, row.text))
    words = row.words(max(masks, 1))
    said = one.value if isinstance(one.value, list) else one.value.split() if masks > 1 else [one.value.strip()]
    if len(said) != len(words):
        raise one.refused(f"has {len(said)} words for {len(words)} masks", "Give one word for each mask.")
    ranks = np.array([1.0 if guess == word else np.inf for guess, word in zip(said, words, strict=True)])
    sure = None if one.score is None else np.full(len(words), one.score)
    return Guesses(tuple(words), ranks, None, tuple(said), sure)


def _token(filler: MaskFiller, row: MaskedRow, ids: Sequence[int], at: int, words: Sequence[str]) -> int | None:
    """The token that the text has behind its mask number `at` once the word stands there; None where it has others."""
    masks = [place for place, token in enumerate(ids) if token == filler.mask_token_id]
    parts = re.split(f"{ANY_MASK}|{re.escape(filler.mask_token)}", row.text)
    fillings = [words[at] if place == at else filler.mask_token for place in range(len(parts) - 1)]
    text = parts[0] + "".join(filling + part for filling, part in zip(fillings, parts[1:], strict=True))
    [filled] = filler.tokens([text])
    rest = [token for place, token in enumerate(filled) if place != masks[at]]
    same = rest == [token for place, token in enumerate(ids) if place != masks[at]]
    return filled[masks[at]] if same and len(filled) == len(ids) else None


def _passes(puzzles: Sequence[Puzzle]) -> Iterator[list[Puzzle]]:
    """Puzzles that have at most 64 masks together, or one that has more."""
    some, masks = list[Puzzle](), 0
    for puzzle in puzzles:
        if some and masks + len(puzzle.right) > MOST_MASKS:
            yield some
            some, masks = [], 0
        some.append(puzzle)
        masks += len(puzzle.right)
    if some:
        yield some


def _guesses(filler: MaskFiller, puzzles: Sequence[Puzzle]) -> list[Guesses]:
    found = filler.probabilities([puzzle.ids for puzzle in puzzles])
    return [_of_puzzle(filler, puzzle, scores) for puzzle, scores in zip(puzzles, found, strict=True)]


def _of_puzzle(filler: MaskFiller, puzzle: Puzzle, scores: Any) -> Guesses:
    """`scores` are [masks, vocabulary]."""
    known = np.array([token is not None for token in puzzle.right])
    answers = np.array([token or 0 for token in puzzle.right])
    chance = np.where(known, np.take_along_axis(scores, answers[:, None], axis=1)[:, 0], 0.0)
    with np.errstate(divide="ignore"):
        likely = np.log(chance)
    best = scores.argmax(axis=1).tolist()
    # A word that is right stands as the row has it, which a model without capitals cannot write.
    said = [
        word if token == right else filler.word(token)
        for word, right, token in zip(puzzle.words, puzzle.right, best, strict=True)
    ]
    return Guesses(
        words=tuple(puzzle.words),
        ranks=np.where(known, rank(scores, answers), np.inf),
        log_probabilities=likely,
        said=tuple(said),
        confidence=scores.max(axis=1),
    )
