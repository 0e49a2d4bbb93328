"""The mains of job workers: `python -m bedplate.workers.KIND FOLDER EPOCH`. Only these processes import torch."""
