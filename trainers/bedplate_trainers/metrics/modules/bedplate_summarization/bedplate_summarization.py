"""The metrics of summarization: `evaluate.load` takes this folder. docs/metrics.md says what they are."""

from bedplate_trainers.metrics import evaluated


class BedplateSummarization(evaluated.TaskMetric):
    """predictions: texts; references: the right texts, or lists of them."""

    task = "summarization"
