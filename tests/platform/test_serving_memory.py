"""What a model that writes texts leases: its weights, and the cache of keys and values that a replica keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bedplate.compute import GIB
from bedplate.kinds.base import replica_demand
from bedplate.machine import simulated
from bedplate_registry.errors import Refused
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, ModelVersion, Source
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

CONFIG = {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
TOKEN_BYTES = 128 << 10  # of CONFIG, at 16 bit
FACTS = ModelFacts(
    "text-generation", "LlamaForCausalLM", "llama", 8_000_000_000, "bfloat16", 16_000_000_000, context_length=8192
)
LOADED = int(16_000_000_000 * 1.2) + GIB


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


@pytest.fixture
def writer(registry: Registry) -> ModelVersion:
    return published(registry, FACTS)


def published(registry: Registry, facts: ModelFacts) -> ModelVersion:
    blob = registry.blobs.put_bytes(json.dumps(CONFIG).encode())
    files = (FileEntry("config.json", blob.size_bytes, blob.sha256),)
    return registry.models.publish(ModelDraft(Name.parse("acme/writer"), files, facts, Source("job", "1")))


def share(registry: Registry, version: ModelVersion, cards: str) -> int:
    demand = replica_demand(registry, simulated(cards), version, "cuda")
    assert demand.gpu_memory_bytes is not None
    return demand.gpu_memory_bytes


def test_a_share_of_a_card_holds_the_cache_as_well(registry: Registry, writer: ModelVersion) -> None:
    assert share(registry, writer, "1xA100-80GB") == LOADED + 65_536 * TOKEN_BYTES
    assert share(registry, writer, "1xV100-32GB") == LOADED + (32 * GIB - LOADED) // 2
    assert share(registry, writer, "1xT4-16GB") == LOADED  # more than it has: deploy refuses it


def test_a_replica_on_the_cpu_takes_an_eighth_at_most_for_its_cache(registry: Registry, writer: ModelVersion) -> None:
    loaded = int(32_000_000_000 * 1.2) + GIB
    roomy = replica_demand(registry, simulated(memory_gb=256), writer, "cpu")
    assert roomy.memory_bytes == loaded + 8192 * 2 * TOKEN_BYTES
    tight = replica_demand(registry, simulated(memory_gb=40), writer, "cpu")
    assert tight.memory_bytes == loaded + int((40 * GIB - loaded) * 0.125)


def test_what_writes_no_texts_keeps_no_cache(registry: Registry) -> None:
    version = published(registry, replace(FACTS, task="text-classification"))
    assert share(registry, version, "1xA100-80GB") == LOADED


def test_what_is_said_goes_before_what_is_reckoned(registry: Registry, writer: ModelVersion) -> None:
    machine = simulated("1xA100-80GB")
    assert replica_demand(registry, machine, writer, "cuda", 20).gpu_memory_bytes == 20 * GIB
    with pytest.raises(Refused, match="gpu_memory_gb"):
        replica_demand(registry, machine, writer, "cpu", 20)
