"""What most people write first: FastAPI around transformers' pipeline. MODEL and PORT come by the environment."""

from __future__ import annotations

import os
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from transformers import pipeline

torch.set_num_threads(os.cpu_count() or 1)
classify = pipeline("text-classification", model=os.environ["MODEL"], device="cpu")
app = FastAPI()


@app.post("/predict")
def predict(body: dict[str, Any]) -> Any:
    return classify([body["inputs"]], top_k=1)[0]


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ready"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
