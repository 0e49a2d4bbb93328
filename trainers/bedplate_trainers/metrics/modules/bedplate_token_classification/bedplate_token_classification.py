"""The metrics of token-classification: `evaluate.load` takes this folder. docs/metrics.md says what they are."""

from bedplate_trainers.metrics import evaluated


class BedplateTokenClassification(evaluated.TaskMetric):
    """predictions: lists of tags, one a token; references: the right tags, in lists as long."""

    task = "token-classification"
