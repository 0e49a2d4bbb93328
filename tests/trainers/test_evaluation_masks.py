"""Models that fill masks: ranks and chances of the right words, as the bare model of transformers gives them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.testing import tiny_masked_lm
from bedplate_serving.testing.encoders import WORDS
from bedplate_trainers.evaluation import Evaluated, EvaluateRequest, examine
from bedplate_trainers.messages import DataFile

Writer = Callable[..., DataFile]


def masked_rows(count: int, mask: str = "[MASK]") -> list[dict[str, Any]]:
    """Sentences of known words, one of which is behind a mask."""
    generator, words, rows = random.Random(5), [word for word in WORDS if len(word) > 1], []
    for _ in range(count):
        sentence = generator.choices(words, k=generator.randint(4, 9))
        at = generator.randrange(1, len(sentence))
        text = " ".join([*sentence[:at], mask, *sentence[at + 1 :]])
        rows.append({"text": text, "answer": sentence[at], "tone": generator.choice(["plain", "odd"])})
    return rows


def evaluated(model: Path, data: DataFile, **more: Any) -> Evaluated:
    return examine(EvaluateRequest("fill-mask", model, data, {}, device="cpu", **more), SILENT)


def by_hand(folder: Path, rows: list[dict[str, Any]]) -> tuple[list[int], list[float]]:
    """Rank and log-probability of each right word, by transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder)
    ranks, chances = [], []
    for row in rows:
        ids = tokenizer(row["text"].replace("[MASK]", tokenizer.mask_token), return_tensors="pt")
        whole = tokenizer(row["text"].replace("[MASK]", row["answer"]))["input_ids"]
        place = ids["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        with torch.inference_mode():
            likely = model(**ids).logits[0, place].double().log_softmax(-1)
        ranks.append(int((likely >= likely[whole[place]]).sum()))
        chances.append(float(likely[whole[place]]))
    return ranks, chances


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_figures_are_those_of_the_bare_model_whatever_its_tokenizer(
    family: str, tmp_path: Path, write_rows: Writer
) -> None:
    model, rows = tiny_masked_lm(tmp_path / "model", family=family), masked_rows(40)
    ranks, chances = (np.array(values) for values in by_hand(model, rows))
    found = evaluated(model, write_rows(rows), settings={"slices": ["tone"]})
    assert found.report["metrics"] == pytest.approx(
        {
            "top1_accuracy": np.mean(ranks == 1),
            "top5_accuracy": np.mean(ranks <= 5),
            "mrr": np.mean(1 / ranks),
            "pseudo_perplexity": np.exp(-chances.mean()),
        },
        rel=1e-4,
    )
    assert set(found.report["confidence"]) == set(found.report["metrics"])
    assert {one["by"] for one in found.report["slices"]} == {"length", "tone"}
    found.rows.write(tmp_path / "rows.parquet")
    lines = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [line["target"] for line in lines] == [row["answer"] for row in rows]
    assert [line["right"] for line in lines] == [bool(rank == 1) for rank in ranks]


def test_a_word_of_several_tokens_counts_as_not_found_and_the_perplexity_says_whose_row_it_is(
    tmp_path: Path, write_rows: Writer
) -> None:
    model, rows = tiny_masked_lm(tmp_path / "model"), masked_rows(12)
    rows[4]["answer"] = "unheardofword"
    report = evaluated(model, write_rows(rows)).report
    assert report["not_computed"] == {"pseudo_perplexity": "Row 5 has the log-probability -inf."}
    assert report["metrics"]["mrr"] < 1 and set(report["confidence"]) == {"top1_accuracy", "top5_accuracy", "mrr"}
    assert [row["rank"] for row in report["worst"] if row["row"] == 5] == [None]
    with pytest.raises(Refused, match="pseudo_perplexity cannot be computed") as caught:
        evaluated(model, write_rows(rows), settings={"metrics": ["pseudo_perplexity"]})
    assert caught.value.hint == "Row 5 has the log-probability -inf."


def test_several_masks_of_a_row_have_a_word_each(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_masked_lm(tmp_path / "model")
    words = [word for word in WORDS if len(word) > 1][:4]
    rows = [{"text": f"{words[0]} [MASK] {words[2]} [MASK]", "answer": f"{words[1]} {words[3]}"}] * 3
    found = evaluated(model, write_rows(rows))
    assert found.report["masks"] == 6
    found.rows.write(tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist()[0]["target"] == [words[1], words[3]]
    rows[1] = rows[1] | {"answer": words[1]}
    with pytest.raises(Refused, match="Row 2 has 2 masks and 1 words"):
        evaluated(model, write_rows(rows))


def test_raw_texts_are_masked_the_same_each_time_and_otherwise_with_another_seed(
    tmp_path: Path, write_rows: Writer
) -> None:
    model = tiny_masked_lm(tmp_path / "model")
    rows = [{"text": row["text"].replace("[MASK]", row["answer"])} for row in masked_rows(30)]
    one, same, other = (evaluated(model, write_rows(rows), settings={"seed": seed}).report for seed in (1, 1, 2))
    assert one["metrics"] == same["metrics"] != other["metrics"]
    assert one["masks"] >= 30 and "pseudo_perplexity" in one["metrics"]


def test_rows_without_a_mask_or_without_its_answer_are_refused_by_number(tmp_path: Path, write_rows: Writer) -> None:
    model, rows = tiny_masked_lm(tmp_path / "model"), masked_rows(6)
    rows[2]["text"] = "no mask here"
    with pytest.raises(Refused, match="Row 3 has an answer and no mask"):
        evaluated(model, write_rows(rows))
    raw = [{"text": row["text"]} for row in masked_rows(6)]
    with pytest.raises(Refused, match="Row 1 has a mask and no answer"):
        evaluated(model, write_rows(raw))
    del rows[2]["answer"]
    with pytest.raises(Refused, match="row 3 "):
        evaluated(model, write_rows(rows))


def test_two_models_are_compared_and_the_commonest_words_stand_beside_them(tmp_path: Path, write_rows: Writer) -> None:
    model, other = tiny_masked_lm(tmp_path / "model"), tiny_masked_lm(tmp_path / "other", seed=4)
    rows = masked_rows(40)
    data = write_rows(rows)
    report = evaluated(model, data, against_dir=other, train=data).report
    commonest = max(sum(row["answer"] == word for row in rows) for word in WORDS) / len(rows)
    assert report["baselines"]["majority"]["top1_accuracy"] == pytest.approx(commonest)
    assert set(report["difference"]) == {"top1_accuracy", "top5_accuracy", "mrr", "pseudo_perplexity"}
    assert report["changed"].keys() == {"fixed", "broken", "examples"}


def test_a_word_that_is_right_is_written_as_the_row_has_it_so_that_the_file_can_be_given_back(
    tmp_path: Path, write_rows: Writer
) -> None:
    model, drawn = tiny_masked_lm(tmp_path / "model"), masked_rows(150)
    said = zip(drawn, said_by(model, write_rows(drawn)), strict=True)
    rows = [{**row, "answer": word.upper()} for row, word in said if word in WORDS]  # the model has no capitals
    assert len(rows) > 5
    data = write_rows(rows, "capitals.jsonl")
    found = evaluated(model, data)
    assert found.report["metrics"]["top1_accuracy"] == 1.0
    found.rows.write(tmp_path / "said.parquet")
    again = examine(
        EvaluateRequest(
            "fill-mask", None, data, {}, device="cpu", predictions=DataFile(tmp_path / "said.parquet", "parquet")
        ),
        SILENT,
    )
    assert again.report["metrics"] == {"top1_accuracy": 1.0}


def said_by(model: Path, data: DataFile) -> list[str]:
    rows = evaluated(model, data).rows
    rows.write(data.path.with_suffix(".parquet"))
    return [str(word) for word in pq.read_table(data.path.with_suffix(".parquet"))["predicted"].to_pylist()]
