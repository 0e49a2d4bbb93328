"""The metrics of text-classification: `evaluate.load` takes this folder. docs/metrics.md says what they are."""

from bedplate_trainers.metrics import evaluated


class BedplateTextClassification(evaluated.TaskMetric):
    """predictions: probabilities, one a label; references: label numbers, or 0 and 1 with `multilabel`."""

    task = "text-classification"
