"""An adapter alone becomes a version that keeps the delta, and names the base that it is laid over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Conflict, NotFound, Refused, Unavailable
from bedplate_registry.gc import collect
from bedplate_registry.hubserver import FolderSource
from bedplate_registry.importing import prepare_folder_import, prepare_hub_import
from bedplate_registry.lineage import parents
from bedplate_registry.models import ModelDraft, ModelFacts, ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.previews import Preview, preview_folder, preview_hub
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry

Serve = Callable[..., Any]
ADAPTER = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors")
LORA = {"base_model.model.bert.encoder.layer.0.output.dense.lora_A.weight": ("F32", (2, 8))}
HEAD = {"base_model.model.classifier.weight": ("F32", (4, 8)), "base_model.model.classifier.bias": ("F32", (4,))}


@pytest.fixture
def make_adapter(tmp_path: Path, safetensors_bytes: Callable[..., bytes]) -> Callable[..., Path]:
    def make(name: str = "adapter", tensors: Mapping[str, Any] = LORA, **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        said = {"peft_type": "LORA", "base_model_name_or_path": "acme/base", "task_type": "SEQ_CLS", "r": 2}
        (folder / "adapter_config.json").write_text(json.dumps(said | config))
        (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# An adapter\n")
        (folder / "training_args.bin").write_bytes(b"\x80\x04boom")
        return folder

    return make


@pytest.fixture
def serve_all(serve: Serve) -> Serve:
    """A Hub that has several models."""
    return lambda folders: serve(FolderSource({name: (folder, "c" * 40, {}) for name, folder in folders.items()}))


class Seen:
    """Stands where the caged process will be, and keeps what it was shown."""

    def __init__(self) -> None:
        self.folders: list[dict[str, bytes]] = []

    def __call__(self, folder: Path, facts: ModelFacts) -> dict[str, Any]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        self.folders.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
        return {"request": "hi", "answer": []}


def bring_folder(registry: Registry, folder: Path, name: str, **options: Any) -> ModelVersion:
    check = options.pop("check", Seen())
    found = prepare_folder_import(registry, folder, name=Name.parse(name), check=check, reporter=SILENT, **options)
    return found if isinstance(found, ModelVersion) else registry.models.publish(found)


def bring(registry: Registry, hub: Any, model_id: str, **options: Any) -> ModelVersion:
    found = prepare_hub_import(registry, hub, model_id, check=Seen(), reporter=SILENT, **options)
    return found if isinstance(found, ModelVersion) else registry.models.publish(found)


@pytest.fixture
def base(registry: Registry, model_folder: Path) -> ModelVersion:
    """A classifier of three labels."""
    return bring_folder(registry, model_folder, "acme/base")


def test_a_version_of_an_adapter_keeps_the_delta_and_loads_with_its_base(
    registry: Registry, base: ModelVersion, make_adapter: Callable[..., Path]
) -> None:
    check = Seen()
    version = bring_folder(registry, make_adapter(), "acme/adapter", check=check)
    assert [entry.path for entry in version.files] == ["README.md", *ADAPTER]
    assert version.adapter_base == "acme/base:1" and version.task == "text-classification"
    assert version.facts.labels == ("card", "refund", "login")
    assert version.facts.parameters == base.facts.parameters + 16
    assert version.facts.size_bytes == sum(entry.size_bytes for entry in version.files) < base.facts.size_bytes
    assert version.loaded_bytes == 4 * version.facts.parameters
    assert version.facts.license == "mit, apache-2.0"
    folder = registry.models.files_dir(version)
    seen = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert seen == check.folders[0] and {*ADAPTER, "config.json", "model.safetensors", "vocab.txt"} <= set(seen)
    assert b"An adapter" in seen["README.md"], "its own file wins"
    assert [each.relation for each in parents(registry.models, version)] == ["adapter"]
    assert [each.ref for each in registry.models.children("acme/base:1")] == [version.ref]


def test_importing_it_again_is_a_no_op_unless_another_base_is_asked_for(
    registry: Registry, base: ModelVersion, make_adapter: Callable[..., Path], model_folder: Path
) -> None:
    adapter = make_adapter()
    first = bring_folder(registry, adapter, "acme/adapter")
    bring_folder(registry, model_folder, "acme/other")
    assert bring_folder(registry, adapter, "acme/adapter") == first
    second = bring_folder(registry, adapter, "acme/adapter", base="acme/other:1")
    assert (second.ref, second.adapter_base) == ("acme/adapter:2", "acme/other:1")
    for each in (first, second):
        assert bring_folder(registry, adapter, "acme/adapter", base=each.adapter_base) == each


def test_a_base_is_not_deleted_while_an_adapter_needs_it_and_its_files_are_no_garbage(
    registry: Registry, base: ModelVersion, make_adapter: Callable[..., Path]
) -> None:
    version = bring_folder(registry, make_adapter(), "acme/adapter")
    with pytest.raises(Conflict, match="the adapter acme/adapter:1 needs it"):
        registry.models.delete(base.ref, by="ann")
    collect(registry, grace_seconds=-60)
    assert registry.models.files_dir(version).is_dir() and registry.models.verify(version.ref) == []
    registry.models.delete(version.ref, by="ann")
    registry.models.delete(base.ref, by="ann")


def test_a_damaged_base_is_named_and_its_adapter_is_not_served(
    registry: Registry, base: ModelVersion, make_adapter: Callable[..., Path]
) -> None:
    version = bring_folder(registry, make_adapter(), "acme/adapter")
    weights = next(entry for entry in base.files if entry.path == "model.safetensors")
    registry.blobs.path(weights.sha256).unlink()
    with pytest.raises(Unavailable, match=r"acme/base:1 is not whole.*model\.safetensors"):
        registry.models.files_dir(version)
    [problem] = registry.models.verify(version.ref)
    assert problem.startswith("Its base: acme/base:1 is not whole")


def test_a_draft_whose_base_was_deleted_meanwhile_is_not_published(
    registry: Registry, base: ModelVersion, make_adapter: Callable[..., Path]
) -> None:
    name = Name.parse("acme/adapter")
    draft = prepare_folder_import(registry, make_adapter(), name=name, check=Seen(), reporter=SILENT)
    registry.models.delete(base.ref, by="ann")
    with pytest.raises(Unavailable, match="needs its base acme/base:1"):
        registry.models.publish(draft)
    assert registry.models.list() == []


def test_a_head_of_the_adapter_s_own_makes_another_model_of_a_base_without_one(
    registry: Registry, base_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    bring_folder(registry, base_folder, "acme/base")
    check = Seen()
    version = bring_folder(registry, make_adapter(tensors=LORA | HEAD), "acme/adapter", check=check)
    assert version.task == "text-classification" and version.facts.architecture == "BertForSequenceClassification"
    assert version.facts.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    config = json.loads(check.folders[0]["config.json"])
    assert config["max_position_embeddings"] == 16 and config["label2id"] == {f"LABEL_{n}": n for n in range(4)}
    named = make_adapter("named", LORA | HEAD)
    (named / "config.json").write_text(json.dumps({"id2label": dict(enumerate("abcd")), "vocab_size": 9}))
    version = bring_folder(registry, named, "acme/named", check=check)
    assert version.facts.labels == ("a", "b", "c", "d")
    assert "vocab_size" not in json.loads(check.folders[1]["config.json"])


@pytest.mark.parametrize(
    ("config", "tensors", "code", "said"),
    [
        ({"task_type": "TOKEN_CLS"}, LORA, "no-head", "neither it nor its base has the head"),
        ({"task_type": "CAUSAL_LM"}, LORA, "no-head", "has no head for that"),
        ({"task_type": "SEQ_2_SEQ_LM"}, LORA, "no-head", "has no head for that"),
        ({"task_type": "DREAMING"}, LORA, "bad-adapter", "DREAMING"),
        ({"peft_type": "PROMPT_TUNING"}, LORA, "bad-adapter", "only LORA"),
        ({"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}, LORA, "remote-code", "auto_mapping"),
        ({"base_model_name_or_path": "/home/ann/llama"}, LORA, "no-base", "/home/ann/llama"),
        ({"base_model_name_or_path": None}, LORA, "no-base", "nothing"),
        ({"base_model_name_or_path": 7}, LORA, "bad-adapter", "7"),
        ({"base_model_name_or_path": "acme/unheard"}, LORA, "no-base", "acme/unheard"),
        ({"revision": "v9"}, LORA, "no-base", "v9"),
        ({}, {"base_model.model.classifier.weight": ("F32", (1 << 40, 0))}, "bad-adapter", "labels"),
    ],
)
def test_an_adapter_that_cannot_be_laid_over_its_base_is_refused(
    registry: Registry,
    base: ModelVersion,
    make_adapter: Callable[..., Path],
    config: dict[str, Any],
    tensors: dict[str, Any],
    code: str,
    said: str,
) -> None:
    with pytest.raises(Refused) as caught:
        bring_folder(registry, make_adapter(tensors=tensors, **config), "acme/adapter")
    assert caught.value.code == code and said in caught.value.message and caught.value.hint
    assert [each.ref for each in registry.models.list()] == ["acme/base:1"]
    assert not [*registry.root.glob("staging/*")]


def test_a_base_that_is_an_adapter_and_one_that_nobody_needs_are_refused(
    registry: Registry, base: ModelVersion, make_adapter: Callable[..., Path], model_folder: Path
) -> None:
    bring_folder(registry, make_adapter(), "acme/adapter")
    with pytest.raises(Refused) as caught:
        bring_folder(registry, make_adapter("more"), "acme/more", base="acme/adapter:1")
    assert caught.value.code == "bad-base"
    with pytest.raises(Refused) as caught:
        bring_folder(registry, model_folder, "acme/whole", base="acme/base:1")
    assert caught.value.code == "not-an-adapter"
    with pytest.raises(NotFound):
        bring_folder(registry, make_adapter("third"), "acme/third", base="acme/base:7")


def test_a_base_that_is_not_here_comes_from_the_same_hub_and_is_published_first(
    registry: Registry, serve_all: Serve, model_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    hub = serve_all({"acme/base": model_folder, "ann/adapter": make_adapter()}).hub
    draft = prepare_hub_import(registry, hub, "ann/adapter", check=Seen(), reporter=SILENT)
    assert isinstance(draft, ModelDraft) and draft.base_draft is not None
    assert registry.models.list() == []
    draft = ModelDraft.from_json(json.loads(json.dumps(draft.to_json())))
    version = registry.models.publish(draft)
    assert registry.models.publish(draft) == version, "a finish may run twice"
    assert version.adapter_base == "acme/base:1" and version.base_draft is None
    assert [each.ref for each in registry.models.list()] == ["acme/base:1", "ann/adapter:1"]
    assert bring(registry, hub, "ann/adapter") == version


def test_importing_an_adapter_again_repairs_what_was_damaged(
    registry: Registry, serve_all: Serve, base_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    hub = serve_all({"acme/base": base_folder, "ann/adapter": make_adapter(tensors=LORA | HEAD)}).hub
    version = bring(registry, hub, "ann/adapter")
    for entry in version.files:
        registry.blobs.path(entry.sha256).unlink()
    assert bring(registry, hub, "ann/adapter") == version
    assert registry.models.verify(version.ref) == []


def test_a_base_that_its_hub_does_not_have_is_refused_with_the_way_to_give_one(
    registry: Registry, serve_all: Serve, make_adapter: Callable[..., Path]
) -> None:
    circle = make_adapter("circle", base_model_name_or_path="ann/circle")
    hub = serve_all({"ann/adapter": make_adapter(), "ann/circle": circle}).hub
    with pytest.raises(Refused) as caught:
        bring(registry, hub, "ann/adapter")
    assert caught.value.code == "no-base" and "'acme/base'" in caught.value.message
    assert "bedplate import acme/base" in caught.value.hint and "--base" in caught.value.hint
    with pytest.raises(Refused, match="is an adapter itself"):
        bring(registry, hub, "ann/circle")


def test_the_base_is_taken_by_the_source_it_came_from_whatever_it_is_called(
    registry: Registry, serve_all: Serve, model_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    hub = serve_all({"acme/base": model_folder, "ann/adapter": make_adapter()}).hub
    bring(registry, hub, "acme/base", name=Name.parse("mine"))
    assert bring(registry, hub, "ann/adapter").adapter_base == "mine:1"


def test_an_adapter_whose_base_is_not_whole_is_not_called_imported_again(
    registry: Registry, serve_all: Serve, model_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    hub = serve_all({"acme/base": model_folder, "ann/adapter": make_adapter()}).hub
    bring(registry, hub, "ann/adapter")
    base = registry.models.get("acme/base:1")
    registry.blobs.path(base.files[0].sha256).unlink()
    with pytest.raises(Unavailable, match="acme/base:1 is not whole"):
        bring(registry, hub, "ann/adapter")
    bring(registry, hub, "acme/base")
    assert bring(registry, hub, "ann/adapter").adapter_base == "acme/base:1"


def test_a_base_at_a_commit_that_is_here_is_taken_without_asking_the_hub_for_it(
    registry: Registry, serve_all: Serve, model_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    bring(registry, serve_all({"acme/base": model_folder}).hub, "acme/base")
    without_base = serve_all({"ann/adapter": make_adapter(revision="c" * 40)}).hub
    assert bring(registry, without_base, "ann/adapter").adapter_base == "acme/base:1"


def test_the_plan_of_an_adapter_has_the_facts_and_the_bytes_of_the_two(
    registry: Registry, serve_all: Serve, model_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    hub = serve_all({"acme/base": model_folder, "ann/adapter": make_adapter()}).hub
    before = preview_hub(registry, hub, "ann/adapter")
    assert isinstance(before.base, Preview) and before.base.model is not None
    assert (before.base.model.model_id, before.problem, before.is_exact) == ("acme/base", None, True)
    assert before.fetch_bytes == before.size_bytes + before.base.size_bytes
    version = bring(registry, hub, "ann/adapter")
    assert before.facts == version.facts
    after = preview_hub(registry, hub, "ann/adapter", name=Name.parse("mine"))
    assert isinstance(after.base, ModelVersion) and after.base.ref == "acme/base:1"
    assert (after.facts, after.fetch_bytes, after.config) == (version.facts, 0, before.config)
    bring_folder(registry, model_folder, "acme/other")
    assert preview_hub(registry, hub, "ann/adapter").here == version.ref
    other = preview_hub(registry, hub, "ann/adapter", base="acme/other:1")
    assert isinstance(other.base, ModelVersion) and (other.base.ref, other.here) == ("acme/other:1", None)
    assert not [*registry.root.glob("staging/*")]


def test_the_plan_of_an_adapter_with_a_head_of_its_own_leaves_the_base_as_it_is(
    registry: Registry, serve_all: Serve, base_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    base = bring_folder(registry, base_folder, "acme/base")
    hub = serve_all({"ann/adapter": make_adapter(tensors=LORA | HEAD)}).hub
    facts = preview_hub(registry, hub, "ann/adapter").facts
    assert facts is not None and facts.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert registry.models.verify(base.ref) == [] and facts == bring(registry, hub, "ann/adapter").facts


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"peft_type": "LOKR"}, "bad-adapter"),
        ({"task_type": "TOKEN_CLS"}, "no-head"),
        ({"base_model_name_or_path": "/home/ann/llama"}, "no-base"),
        ({"base_model_name_or_path": "acme/unheard"}, "no-base"),
        ({"base_model_name_or_path": "ann/adapter"}, "no-base"),
        ({"revision": "v9"}, "no-base"),
    ],
)
def test_the_plan_of_an_adapter_has_the_problem_of_its_import(
    registry: Registry,
    serve_all: Serve,
    model_folder: Path,
    make_adapter: Callable[..., Path],
    config: dict[str, Any],
    code: str,
) -> None:
    hub = serve_all({"acme/base": model_folder, "ann/adapter": make_adapter(**config)}).hub
    plan = preview_hub(registry, hub, "ann/adapter")
    with pytest.raises(Refused) as caught:
        bring(registry, hub, "ann/adapter")
    assert plan.problem is not None and plan.problem.to_json() == caught.value.to_json()
    assert (plan.problem.code, plan.facts) == (code, None)


def test_the_plan_of_what_is_no_adapter_refuses_a_base(
    registry: Registry, serve_all: Serve, base: ModelVersion, model_folder: Path
) -> None:
    plan = preview_hub(registry, serve_all({"acme/whole": model_folder}).hub, "acme/whole", base=base.ref)
    assert plan.problem is not None and plan.problem.code == "not-an-adapter"


def test_the_plan_of_a_folder_with_an_adapter_goes_by_the_facts_of_its_base(
    base: ModelVersion, model_folder: Path, make_adapter: Callable[..., Path]
) -> None:
    plan = preview_folder(make_adapter(), base=base.facts)
    assert plan.facts is not None and plan.facts.task == "text-classification" and not plan.is_exact
    assert plan.facts.parameters > base.facts.parameters
    assert preview_folder(make_adapter("alone")).facts is None
    for folder, code in ((make_adapter("lokr", peft_type="LOKR"), "bad-adapter"), (model_folder, "not-an-adapter")):
        problem = preview_folder(folder, base=base.facts).problem
        assert problem is not None and problem.code == code
