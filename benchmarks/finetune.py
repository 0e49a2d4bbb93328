"""Fine-tuning: the quality that default settings reach on real data, and the speed beside a bare PyTorch loop.

    python benchmarks/finetune.py --set NAME [--model DIR]        NAME is one of SETS below

Without --model banking77 takes all-MiniLM-L6-v2, the others BERT-tiny, out of wheels of the package index; multi30k is
learned by a small Marian from scratch.

Quality: one fine-tune as a user would start it, with no setting given; two of its test metrics stand beside the
baselines worked out in the same run. Speed: our loop and a bare one take the same batches, padding, loss,
optimizer and schedule in turns, on the same weights; the median of the rounds' ratios is printed. Data: the folder of
real datasets beside the checkout (--data).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

from untrained_translator import make_translator

from bedplate.wheel_models import BERT_TINY, MINILM
from bedplate_registry.progress import SILENT
from bedplate_trainers.finetune import DataFile, FinetuneRequest, finetune
from bedplate_trainers.recipes import RECIPES

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CACHE = Path("~/.cache/bedplate-benchmarks").expanduser()
WARM_UP_STEPS = 5
Moment = tuple[float, float]  # wall clock, processor time of this process


@dataclass(frozen=True)
class RealSet:
    """A dataset, how it is read, and the least a trainer must reach with a suitable small model."""

    train: str
    validation: str | None
    test: str
    format: str
    columns: dict[str, str]
    floor: float  # of the first metric
    task: str = "text-classification"
    metrics: tuple[str, str] = ("accuracy", "f1_score_macro")


SETS = {
    "banking77": RealSet(
        "text_classification/banking77/train.csv",
        None,
        "text_classification/banking77/test.csv",
        "csv",
        {"sentence1": "text", "label": "category"},
        0.90,
    ),
    "tweeteval_emotion": RealSet(
        "text_classification/tweeteval_emotion/train.jsonl",
        "text_classification/tweeteval_emotion/val.jsonl",
        "text_classification/tweeteval_emotion/test.jsonl",
        "jsonl",
        {"sentence1": "text", "label": "label"},
        0.69,
    ),
    "sick_pairs": RealSet(
        "text_classification/sick_pairs/SICK_train.txt",
        "text_classification/sick_pairs/SICK_trial.txt",
        "text_classification/sick_pairs/SICK_test_annotated.txt",
        "tsv",
        {"sentence1": "sentence_A", "sentence2": "sentence_B", "label": "entailment_judgment"},
        0.77,
    ),
    "wnut17": RealSet(
        "token_classification/wnut17/train.jsonl",
        "token_classification/wnut17/dev.jsonl",
        "token_classification/wnut17/test.jsonl",
        "jsonl",
        {"tokens": "tokens", "tags": "ner_tags"},
        0.20,
        "token-classification",
        ("f1_score_micro", "accuracy"),
    ),
    # 894 questions are too few to learn much from: whole contexts as answers have an F1 of 5.7.
    "xquad_flat_en": RealSet(
        "question_answering/xquad/flat_en/train.jsonl",
        None,
        "question_answering/xquad/flat_en/test.jsonl",
        "jsonl",
        {},
        6.0,
        "question-answering",
        ("f1_score", "exact_match"),
    ),
    # From scratch: a small Marian whose vocabulary is learned from these texts. The source as it is has a BLEU of 0.5.
    "multi30k": RealSet(
        "translation/multi30k/train.jsonl",
        "translation/multi30k/val.jsonl",
        "translation/multi30k/test_2016_flickr.jsonl",
        "jsonl",
        {"source": "translation.en", "target": "translation.de"},
        0.5,
        "translation",
        ("bleu", "chrf"),
    ),
    # Two BERT-tiny joined to one model: about 2,000 abstracts teach it little, and the first sentence is far ahead.
    "scitldr": RealSet(
        "summarization/scitldr_a/train.jsonl",
        "summarization/scitldr_a/dev.jsonl",
        "summarization/scitldr_a/test.jsonl",
        "jsonl",
        {"document": "source", "summary": "target"},
        0.05,
        "summarization",
        ("rougeL", "rouge1"),
    ),
}


class Bar:
    """Progress on stderr, a line every few seconds, and the moment of each training step."""

    def __init__(self, *, silent: bool = False) -> None:
        self.steps: list[Moment] = []
        self._silent, self._last = silent, 0.0

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        now = time.perf_counter()
        if phase == "train":
            self.steps.append(moment())
        if not self._silent and now - self._last > 10:
            self._last = now
            print(f"  {phase} {done:.0f} of {total:.0f} {unit}", file=sys.stderr, flush=True)

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def message(self, text: str) -> None:
        if not self._silent:
            print(f"  {text}", file=sys.stderr, flush=True)


def main() -> None:
    options = read_options()
    real = SETS[options.set]
    with tempfile.TemporaryDirectory() as folder:
        request = request_for(real, options, Path(folder))
        quality = {} if options.only_speed else measure_quality(request, real)
        speed = measure_speed(request, options.steps, options.rounds) if options.rounds else {}
    print_table(options.set, real, quality, speed)
    about = {"benchmark": "finetune", "set": options.set, "model": options.model.name, **machine(options.device)}
    print(json.dumps(about | quality | speed))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--set", choices=SETS, default="tweeteval_emotion")
    parser.add_argument("--model", type=Path, help="folder of a small pretrained encoder")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the datasets")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=60, help="steps of each side in a round of the speed comparison")
    parser.add_argument("--max-steps", type=int, help="end the full fine-tune after so many steps")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of it; 0: leave it out")
    parser.add_argument("--only-speed", action="store_true", help="leave the full fine-tune out")
    options = parser.parse_args()
    if options.model is None and options.set == "multi30k":
        texts = texts_of(options.data / SETS["multi30k"].train)
        options.model = make_translator(CACHE / "untrained-translator", texts)
    if options.model is None:
        options.model = (MINILM if options.set == "banking77" else BERT_TINY).fetch(CACHE)
    return options


def request_for(real: RealSet, options: argparse.Namespace, folder: Path) -> FinetuneRequest:
    def file(name: str) -> DataFile:
        path = options.data / name
        return DataFile(flat(path, folder) if options.set == "scitldr" else path, real.format)

    return FinetuneRequest(
        task=real.task,
        model_dir=options.model,
        train=file(real.train),
        validation=file(real.validation) if real.validation else "auto",
        test=file(real.test),
        columns=real.columns,
        settings={"max_steps": options.max_steps} if options.max_steps else {},
        work_dir=folder / "work",
        output_dir=folder / "model",
        device=options.device,
    )


def flat(path: Path, folder: Path) -> Path:
    """The rows with their sentences as one text, and the first of several summaries."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({"source": " ".join(row["source"]), "target": row["target"][0]}) for row in rows]
    target = folder / path.name
    target.write_text("\n".join(lines), encoding="utf-8")
    return target


def texts_of(path: Path) -> list[str]:
    """English and German, to learn a vocabulary from."""
    rows = [json.loads(line)["translation"] for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[language] for row in rows for language in ("en", "de")]


def measure_quality(request: FinetuneRequest, real: RealSet) -> dict[str, Any]:
    result = finetune(request, Bar(), resume=False)
    assert result is not None
    assert result.report is not None
    values = result.resolved["values"]
    return {
        **{name: result.report["metrics"][name] for name in real.metrics},
        f"{real.metrics[0]}_interval": result.report["confidence"][real.metrics[0]],
        "floor": real.floor,
        "baselines": result.baselines,
        "rows": [result.train_rows, result.validation_rows, result.test_rows],
        "steps": result.steps,
        "best_step": result.best_step,
        "seconds": result.seconds,
        "settings": {
            name: values[name] for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "seed")
        },
    }


def measure_speed(request: FinetuneRequest, steps: int, rounds: int) -> dict[str, Any]:
    """Samples per second of both loops, in turns."""
    recipe = import_module(f"bedplate_trainers.recipes.{RECIPES[request.task]}")
    settings = {"max_steps": steps, "eval_strategy": "no", "save_steps": 0, "logging_steps": 10}
    prepared = recipe.prepare(replace(request, settings=settings), SILENT)
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    for turn in range(rounds):
        plan = replace(prepared.plan, model=copy.deepcopy(prepared.plan.model))
        other = replace(prepared.plan, model=copy.deepcopy(prepared.plan.model))
        sides = [lambda: ours.append(time_ours(plan)), lambda: bare.append(time_bare(other, steps))]  # noqa: B023
        for side in sides if turn % 2 == 0 else reversed(sides):
            side()
    found: dict[str, Any] = {"speed_steps": steps, "rounds": rounds}
    for name, side in (("samples_per_second", ours), ("bare_samples_per_second", bare)):
        walls = [wall for wall, _ in side]
        found[name] = round(statistics.median(walls), 1)
        found[f"{name}_range"] = [round(min(walls), 1), round(max(walls), 1)]
    for name, clock in (("ratio", 0), ("ratio_processor_time", 1)):
        pairs = [mine[clock] / other[clock] for mine, other in zip(ours, bare, strict=True)]
        found[name] = round(statistics.median(pairs), 3)
    return found


def time_ours(plan: Any) -> tuple[float, float]:
    from bedplate_trainers.training import train

    bar = Bar(silent=True)
    train(plan, bar, resume=False)
    return rates(bar.steps, plan.settings.per_device_train_batch_size)


def time_bare(plan: Any, steps: int) -> tuple[float, float]:
    """The loop one would write by hand, with the same tricks."""
    import torch
    from transformers import get_linear_schedule_with_warmup, set_seed

    from bedplate_trainers.plan import inputs_of
    from bedplate_trainers.sampling import LengthGroupedBatches

    settings = plan.settings
    set_seed(settings.seed)
    model = plan.model.to(plan.device).train()
    decayed = [p for name, p in model.named_parameters() if "bias" not in name and "LayerNorm" not in name]
    others = [p for name, p in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.1 * steps), steps)
    batches = LengthGroupedBatches(plan.train.lengths, settings.per_device_train_batch_size, settings.seed)
    moments: list[Moment] = []
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.precision)
    while len(moments) < steps:
        batches.set_epoch(len(moments) // len(batches))
        for rows in batches:
            inputs = {name: value.to(plan.device) for name, value in plan.train.__getitems__(rows).items()}
            with torch.autocast(plan.device, dtype=dtype, enabled=dtype is not None):
                outputs = model(**inputs_of(inputs))
            (plan.objective.total(outputs, inputs) / plan.objective.items(inputs)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            moments.append(moment())
            if len(moments) == steps:
                break
    return rates(moments, settings.per_device_train_batch_size)


def moment() -> Moment:
    return time.perf_counter(), time.process_time()


def rates(moments: list[Moment], rows: int) -> tuple[float, float]:
    """Rows a second of wall clock and of processor time, after the first steps, in which memory is being laid out."""
    kept = moments[WARM_UP_STEPS:]
    wall, busy = (kept[-1][clock] - kept[0][clock] for clock in (0, 1))
    return (len(kept) - 1) * rows / wall, (len(kept) - 1) * rows / busy


def machine(device: str) -> dict[str, Any]:
    import torch

    on_gpu = device != "cpu" and torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def print_table(name: str, real: RealSet, quality: dict[str, Any], speed: dict[str, Any]) -> None:
    if quality:
        first, second = real.metrics
        print(f"{'':24}{first:>16}{second:>16}")
        for label, scores in ({f"{name}, tuned": quality} | quality["baselines"]).items():
            print(f"{label:24}{scores[first]:>16.4f}{scores[second]:>16.4f}")
        print(f"{'floor':24}{quality['floor']:>16.2f}")
    if speed:
        print(f"{'':24}{'samples/s':>12}")
        print(f"{'our loop':24}{speed['samples_per_second']:>12.1f}")
        print(f"{'bare PyTorch loop':24}{speed['bare_samples_per_second']:>12.1f}")
        print(
            f"{'ratio':24}{speed['ratio']:>12.3f}   (goal 0.97; by processor time {speed['ratio_processor_time']:.3f})"
        )


if __name__ == "__main__":
    main()
