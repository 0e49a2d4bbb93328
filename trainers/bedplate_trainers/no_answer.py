"""When "there is no answer" is the better thing to say: the threshold with the best F1 over questions of both kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .metrics.question_answering import Predictions

__all__ = ["best_threshold"]

BEYOND = 1.0  # how far the threshold lies from all questions where either all of them or none are left unanswered


def best_threshold(differences: Sequence[float], answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """For each question: by how much the logits of "no answer" pass those of the best answer, that answer, and the
    right ones (none: there is none). Those above the threshold are best left unanswered.

    Half way between two questions; of equally good thresholds the one nearest to 0.
    """
    said = Predictions(list(answers), list(references))
    gains = np.where(said.has_answer, 0.0, 1.0) - said.f1_score  # of leaving a question unanswered
    values = np.clip(np.asarray(differences, dtype=np.float64), -1e6, 1e6)  # infinite: one of the two is missing
    order = np.argsort(-values, kind="stable")
    values, totals = values[order], np.concatenate([[0.0], np.cumsum(gains[order])])
    bounds = np.concatenate([[max(values[0] + BEYOND, 0.0)], (values[1:] + values[:-1]) / 2])
    bounds = np.append(bounds, min(values[-1] - BEYOND, 0.0))
    # Equal questions are on the same side.
    apart = np.concatenate([[True], values[1:] < values[:-1], [True]])
    best = apart & np.isclose(totals, totals[apart].max(), rtol=0, atol=1e-9)
    return float(min(bounds[best], key=abs))
