"""The metrics of question-answering: `evaluate.load` takes this folder. docs/metrics.md says what they are."""

from bedplate_trainers.metrics import evaluated


class BedplateQuestionAnswering(evaluated.TaskMetric):
    """predictions: the answers, "" for none; references: lists of right answers, empty where there is none."""

    task = "question-answering"
