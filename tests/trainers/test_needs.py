"""Settings that need a package or a card are refused before anything is made; those of LoRA, where there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_trainers.needs import check_needs
from bedplate_trainers.settings import FinetuneSettings, resolve

FACTS = SimpleNamespace(parameters=22_700_000, model_type="bert", context_length=512)
NEEDY = [
    ({"optim": "adamw_bnb_8bit"}, "bitsandbytes"),
    ({"apply_lora": True, "load_in_4bit": True}, "bitsandbytes"),
    ({"attn_implementation": "flash_attention_2"}, "flash_attn"),
    ({"deepspeed_stage": 3}, "deepspeed"),
]


def values(settings: dict[str, Any]) -> dict[str, Any]:
    return vars(FinetuneSettings.from_mapping(settings))


@pytest.mark.parametrize(("settings", "package"), NEEDY)
def test_a_package_and_a_gpu_are_asked_for_by_name(settings: dict[str, Any], package: str) -> None:
    read = values(settings)
    with pytest.raises(Refused, match="needs a GPU, and the device is cpu") as caught:
        check_needs(read, "cpu", 1, lambda name: True)
    assert caught.value.code == "setting-needs"
    with pytest.raises(Refused, match=f"the package {package}, which is not installed") as caught:
        check_needs(read, "cuda", 1, lambda name: None if name == package else True)
    assert "pip install" in caught.value.hint
    check_needs(read, "cuda", 1, lambda name: True)


def test_one_gpu_has_nothing_to_shard() -> None:
    with pytest.raises(Refused, match="several GPUs, and there is one process"):
        check_needs(values({"fsdp": True}), "cuda", 1)
    check_needs(values({"fsdp": True}), "cuda", 2)


def test_a_model_is_sharded_in_one_way() -> None:
    with pytest.raises(Refused, match="both shard the model"):
        FinetuneSettings.from_mapping({"fsdp": True, "deepspeed_stage": "2"})


@pytest.mark.parametrize("name", ["lora_r", "merge_lora_weights", "load_in_4bit", "lora_target_modules"])
def test_a_setting_of_adapters_without_an_adapter_is_refused(name: str) -> None:
    value = {"lora_r": 4, "lora_target_modules": "query"}.get(name, name == "load_in_4bit")
    with pytest.raises(Refused, match=f"{name} has no effect: apply_lora is not true"):
        FinetuneSettings.from_mapping({name: value})


def test_an_adapter_gets_a_higher_rate_up_to_a_limit() -> None:
    with_lora = FinetuneSettings.from_mapping({"apply_lora": "true"})
    large = SimpleNamespace(parameters=110_000_000, model_type="bert", context_length=512)
    assert resolve(with_lora, large, 9000, "cpu").settings.learning_rate == pytest.approx(3e-4)
    resolved = resolve(with_lora, FACTS, 9000, "cpu")
    assert resolved.settings.learning_rate == 2e-3
    assert resolved.settings.lora_target_modules == ("all-linear",)
    assert resolved.sources(["apply_lora"])["learning_rate"].startswith("chosen: 10 times")
