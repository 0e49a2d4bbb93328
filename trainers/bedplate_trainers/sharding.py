"""How a model is spread over GPUs: the file that accelerate is launched with, from the settings. Imports no torch.

    deepspeed_stage=2   gradients and moments in parts (ZeRO 2)
    deepspeed_stage=3   weights too (ZeRO 3)
    fsdp=true           weights, gradients and moments in parts, by torch itself (FSDP2)

Whole weights are gathered when they are saved, so that checkpoints and models look as they always do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["accelerate_config", "write_accelerate_config"]

NAME = "accelerate.json"  # which accelerate reads by its suffix


def accelerate_config(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What accelerate is told of sharding, or None where each process holds the whole model."""
    if settings["fsdp"]:
        return _config("FSDP", "fsdp_config", _FSDP2)
    if settings["deepspeed_stage"] != "none":
        return _config("DEEPSPEED", "deepspeed_config", _ZERO | {"zero_stage": int(settings["deepspeed_stage"])})
    return None


def write_accelerate_config(settings: Mapping[str, Any], folder: Path) -> Path | None:
    """The file in `folder`, or None where there is nothing to say."""
    config = accelerate_config(settings)
    if config is None:
        return None
    path = folder / NAME
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return path


_FSDP2: dict[str, Any] = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",  # layer by layer, as the model says which must stay whole
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_cpu_ram_efficient_loading": False,
    "fsdp_offload_params": False,
    "fsdp_activation_checkpointing": False,  # the setting activation_checkpointing does it
}
_ZERO: dict[str, Any] = {
    "gradient_accumulation_steps": 1,  # the training loop takes a step in parts by itself
    "gradient_clipping": "auto",
    "offload_optimizer_device": "none",
    "offload_param_device": "none",
    "zero3_init_flag": False,
    "zero3_save_16bit_model": True,
}


def _config(kind: str, key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": kind,
        "mixed_precision": "no",  # precision is the trainer's business
        "use_cpu": False,
        "num_processes": 1,  # the command line has the number
        key: dict(values),
    }
