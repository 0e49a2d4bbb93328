"""Metrics as `evaluate` modules of our own, on scikit-learn: `evaluate.load` would ask the Hub."""
