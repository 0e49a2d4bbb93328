"""Metrics as `evaluate` modules of our own: `evaluate.load` by a bare name would ask the Hub.

One module a task, all of one shape (docs/metrics.md): `Predictions` holds what a model said beside what was right,
`score(predictions, names)` computes what is asked for, `score_what_applies(predictions)` all that can be
computed. `of_task.py` finds the module of a task, `modules/` has what `evaluate.load` takes.
"""
