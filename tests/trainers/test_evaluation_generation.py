"""Models that write texts: perplexity as the bare model of transformers gives it, ROUGE and BLEU of what they write."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.predictors import load_predictor
from bedplate_serving.testing.causal import tiny_causal
from bedplate_serving.testing.encoders import WORDS
from bedplate_trainers.evaluation import Evaluated, EvaluateRequest, examine
from bedplate_trainers.messages import DataFile
from bedplate_trainers.metrics.of_task import metrics_of

Writer = Callable[..., DataFile]
SHORT = {"max_new_tokens": 6, "latency_rows": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("gpt2"), "gpt2")


def prompts(count: int) -> list[dict[str, Any]]:
    generator, words = random.Random(7), [word for word in WORDS if len(word) > 1]
    return [
        {
            "prompt": " ".join(generator.choices(words, k=generator.randint(2, 6))),
            "completion": " " + " ".join(generator.choices(words, k=generator.randint(1, 4))),
            "tone": generator.choice(["plain", "odd"]),
        }
        for _ in range(count)
    ]


def evaluated(model: Path, data: DataFile, **more: Any) -> Evaluated:
    more["settings"] = {**SHORT, **more.get("settings", {})}
    return examine(EvaluateRequest("text-generation", model, data, {}, device="cpu", **more), SILENT)


def chances(folder: Path, prompt: str, completion: str) -> list[float]:
    """Log-probabilities of a completion's tokens, or of all that have one, by transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(prompt + completion, return_tensors="pt")["input_ids"]
    start = len(tokenizer(prompt)["input_ids"]) if completion else 1
    with torch.inference_mode():
        likely = model(ids).logits[0, :-1].double().log_softmax(-1)
    return likely.gather(1, ids[0, 1:, None])[:, 0].tolist()[start - 1 :]


def test_perplexity_is_that_of_the_bare_model_and_texts_are_those_of_the_served_one(
    model: Path, tmp_path: Path, write_rows: Writer
) -> None:
    rows = prompts(12)
    found = evaluated(model, write_rows(rows), settings={"slices": ["tone"]})
    known = [one for row in rows for one in chances(model, row["prompt"], row["completion"])]
    metrics = found.report["metrics"]
    assert metrics["perplexity"] == pytest.approx(np.exp(-np.mean(known)), rel=1e-4)
    assert found.report["tokens"] == len(known)
    served = load_predictor(model, "text-generation", device="cpu")
    said = [one[0]["generated_text"] for one in served.predict([row["prompt"] for row in rows], {"max_new_tokens": 6})]
    module = metrics_of("text-generation")
    texts = module.Predictions(said, [row["completion"] for row in rows])
    expected = module.score(texts, ["rouge1", "rougeL", "bleu", "bleu_1"])
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert set(found.report["confidence"]) == set(found.report["metrics"])
    low, high = found.report["confidence"]["perplexity"]
    assert low <= metrics["perplexity"] <= high
    found.rows.write(tmp_path / "rows.parquet")
    lines = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [(line["prompt"], line["target"], line["predicted"]) for line in lines] == [
        (row["prompt"], row["completion"], text) for row, text in zip(rows, said, strict=True)
    ]


def test_plain_texts_have_a_perplexity_alone(model: Path, tmp_path: Path, write_rows: Writer) -> None:
    rows = [{"prompt": row["prompt"] + row["completion"]} for row in prompts(12)]
    found = evaluated(model, write_rows(rows))
    known = [one for row in rows for one in chances(model, row["prompt"], "")]
    assert found.report["metrics"] == {"perplexity": pytest.approx(np.exp(-np.mean(known)), rel=1e-4)}
    found.rows.write(tmp_path / "rows.parquet")
    line = pq.read_table(tmp_path / "rows.parquet").to_pylist()[3]
    assert line["predicted"] is None and line["target"] is None
    assert line["score"] == pytest.approx(np.mean(chances(model, rows[3]["prompt"], "")), rel=1e-4)
    with pytest.raises(Refused, match="rouge1 cannot be computed") as caught:
        evaluated(model, write_rows(rows), settings={"metrics": ["rouge1", "perplexity"]})
    assert "completion" in caught.value.hint


def test_nothing_is_written_for_perplexity_and_nothing_is_weighed_for_rouge(model: Path, write_rows: Writer) -> None:
    data = write_rows(prompts(12))
    one = evaluated(model, data, settings={"metrics": ["perplexity"]}).report
    other = evaluated(model, data, settings={"metrics": ["rougeL"]}).report
    assert set(one["confidence"]) == set(one["metrics"]) == {"perplexity"}
    assert set(other["metrics"]) == {"rougeL"} and "perplexity" not in other["confidence"]
    assert "predicted" not in one["worst"][0] and "predicted" in other["worst"][0]


def test_a_text_beyond_the_context_is_refused_by_its_row(model: Path, write_rows: Writer) -> None:
    rows = prompts(5)
    rows[3]["prompt"] = "card " * 200
    with pytest.raises(Refused, match="Row 4: the prompt has"):
        evaluated(model, write_rows(rows))


def test_two_models_are_compared_on_the_same_prompts(model: Path, tmp_path: Path, write_rows: Writer) -> None:
    other = tiny_causal(tmp_path / "other", "gpt2", seed=3)
    report = evaluated(model, write_rows(prompts(12)), against_dir=other).report
    tested = {name for name, one in report["difference"].items() if "p_value" in one}
    assert tested == set(report["difference"]) == set(report["metrics"])
    apart = report["metrics"]["perplexity"] - report["against"]["metrics"]["perplexity"]
    assert report["difference"]["perplexity"]["value"] == pytest.approx(apart)
