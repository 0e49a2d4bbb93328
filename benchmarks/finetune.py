"""Fine-tuning: the quality that default settings reach on real data, and the speed beside other ways to train.

    python benchmarks/finetune.py --set NAME [--model DIR]        NAME is one of finetune_sets.SETS
    python benchmarks/finetune.py --set NAME --seeds 3 --rounds 0      ours and a plain loop, three seeds each; no speed
    python benchmarks/finetune.py --set NAME --only-speed --scaling 3        no fine-tune in full; 1 and 2 processes
    python benchmarks/finetune.py --packing        how much of our batches is padding, on all sets

Without --model banking77 and wnut17_minilm take all-MiniLM-L6-v2, the others BERT-tiny, out of wheels of the package
index; multi30k is learned by a small Marian from scratch.

Quality: one fine-tune as a user would start it, with no setting given; two of its test metrics stand beside the
baselines worked out in the same run. With --seeds several, each beside a plain loop's (finetune_quality). Speed: our
loop, a bare one with the same tricks, transformers' example script and AutoTrain's settings in turns, on the same
weights and rows; medians of the rounds. Data: the folder of real datasets beside the checkout (--data).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

from finetune_padding import padding_of
from finetune_quality import compare_seeds, measure_quality, print_quality, print_seeds
from finetune_scaling import measure_scaling
from finetune_sets import DATA, SETS, model_for, request_for
from finetune_speed import SIDES, measure_speed

GOALS = {"bare": 0.97, "example": 1.3, "autotrain": 1.3}
TITLES = {
    "ours": "our loop",
    "bare": "bare PyTorch loop",
    "example": "example script",
    "autotrain": "AutoTrain's settings",
}


def main() -> None:
    options = read_options()
    if options.packing:
        study_padding(options)
        return
    real, model = SETS[options.set], options.model or model_for(options.set, options.data)
    with tempfile.TemporaryDirectory() as folder:
        limit = {"max_steps": options.max_steps} if options.max_steps else {}
        request = request_for(options.set, model, options.data, Path(folder), options.device)
        full = replace(request, settings=limit)
        quality = measure_quality(full, real) if not options.only_speed and not options.seeds else {}
        seeds = compare_seeds(full, real, options.seeds) if options.seeds else {}
        speed = measure_speed(request, options.steps, options.rounds, options.sides) if options.rounds else {}
        scaling = measure_scaling(request, options.steps, options.scaling) if options.scaling else {}
    if quality:
        print_quality(options.set, real, quality)
    if seeds:
        print_seeds(options.set, real, seeds)
    print_speed(speed, scaling)
    about = {"benchmark": "finetune", "set": options.set, "model": model.name, **machine(options.device)}
    print(json.dumps(about | quality | {"seeds": seeds, "speed": speed, "scaling": scaling}))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--set", choices=SETS, default="tweeteval_emotion")
    parser.add_argument("--model", type=Path, help="folder of a small pretrained encoder")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the datasets")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=60, help="steps of each side in a round of the speed comparison")
    parser.add_argument("--max-steps", type=int, help="end the full fine-tune after so many steps")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of it; 0: leave it out")
    parser.add_argument("--sides", type=sides_of, default=list(SIDES), help=f"of {','.join(SIDES)}")
    parser.add_argument("--scaling", type=int, default=0, metavar="ROUNDS", help="rounds of one and two processes")
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="N full fine-tunes beside a plain loop's")
    parser.add_argument("--only-speed", action="store_true", help="leave the full fine-tune out")
    parser.add_argument("--packing", action="store_true", help="only count the padding of our batches, on all sets")
    options = parser.parse_args()
    if options.steps < 20:
        parser.error("--steps: 20 or more, of which the first are not counted")
    if options.only_speed and options.seeds:
        parser.error("--only-speed leaves out the fine-tunes that --seeds asks for")
    return options


def sides_of(text: str) -> list[str]:
    sides = text.split(",")
    if unknown := [side for side in sides if side not in SIDES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SIDES)}")
    return sides


def study_padding(options: argparse.Namespace) -> None:
    """A row for each set."""
    print(f"{'':20}{'rows':>8}{'batch':>7}{'median':>8}{'most':>6}{'ours':>9}{'random':>9}{'longest':>9}")
    for name in SETS:
        with tempfile.TemporaryDirectory() as folder:
            model = options.model or model_for(name, options.data)
            found = padding_of(request_for(name, model, options.data, Path(folder), options.device))
        numbers = f"{found['rows']:>8}{found['batch_size']:>7}{found['tokens_median']:>8}{found['tokens_most']:>6}"
        shares = "".join(f"{found['padding'][kind]:>9.1%}" for kind in ("ours", "random", "longest"))
        print(f"{name:20}{numbers}{shares}", flush=True)
        print(json.dumps({"benchmark": "finetune padding", "set": name, **found}), file=sys.stderr)


def machine(device: str) -> dict[str, Any]:
    import torch

    on_gpu = device != "cpu" and torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def print_speed(speed: dict[str, Any], scaling: dict[str, Any]) -> None:
    if speed:
        print(f"{'':24}{'samples/s':>12}{'(range)':>20}{'ours to it':>12}{'by processor':>14}{'goal':>7}")
        for side, found in speed["sides"].items():
            least, most = found["range"]
            ratios = f"{found['ratio']:>12.3f}{found['ratio_processor_time']:>14.3f}" if "ratio" in found else ""
            goal = f"{GOALS[side]:>7}" if side in GOALS else ""
            rates = f"{found['samples_per_second']:>12.1f}{f'({least:.0f} to {most:.0f})':>20}"
            print(f"{TITLES[side]:24}{rates}{ratios}{goal}")
    if scaling:
        rates = " and ".join(f"{rate} in {count}" for count, rate in scaling["samples_per_second"].items())
        print(f"samples/s by processes: {rates}; ratio {scaling['ratio']}")


if __name__ == "__main__":
    main()
