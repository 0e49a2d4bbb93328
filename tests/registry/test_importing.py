"""From a MODEL_ID or a folder to a published version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import BedplateError, Refused, Unavailable
from bedplate_registry.hub import Hub
from bedplate_registry.importing import prepare_folder_import, prepare_hub_import
from bedplate_registry.models import ModelDraft, ModelFacts, ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

Serve = Callable[..., Any]
MakeModel = Callable[..., Path]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TOKEN = "hf_canaryCANARYcanary"


class Check:
    """Stands where the caged process will be: looks at the view, and answers as it is told."""

    def __init__(self, problem: BedplateError | None = None) -> None:
        self.problem = problem
        self.seen: list[tuple[list[str], ModelFacts]] = []

    def __call__(self, folder: Path, facts: ModelFacts) -> dict[str, Any]:
        self.seen.append((sorted(path.name for path in folder.iterdir()), facts))
        if self.problem:
            raise self.problem
        return {"request": "hi", "answer": [{"label": "card", "score": 1.0}]}


def bring(
    registry: Registry, hub: Hub, model_id: str, recorder: Any, check: Any = None, **options: Any
) -> ModelVersion:
    """Import and publish, as a job does."""
    found = prepare_hub_import(registry, hub, model_id, check=check or Check(), reporter=recorder, **options)
    return found if isinstance(found, ModelVersion) else registry.models.publish(found)


def test_a_hub_model_becomes_a_version_with_its_source_and_sample(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    loopback = serve(model_folder)
    check = Check()
    version = bring(registry, loopback.hub, "acme/intents", recorder, check)
    assert version.ref == "acme/intents:1" and version.task == "text-classification"
    assert (version.source.kind, version.source.id, version.source.url) == ("hub", "acme/intents", loopback.url)
    assert version.source.commit == "0123456789abcdef0123456789abcdef01234567"
    assert version.sample == {"request": "hi", "answer": [{"label": "card", "score": 1.0}]}
    assert check.seen[0][0] == sorted(path.name for path in model_folder.iterdir())
    assert registry.models.verify(version.ref) == []
    for path in model_folder.iterdir():
        assert (registry.models.files_dir(version) / path.name).read_bytes() == path.read_bytes()
    assert list((registry.root / "staging").iterdir()) == []
    assert recorder.steps[-1][1] == recorder.steps[-1][2] > 0


def test_importing_the_same_commit_again_fetches_nothing_and_says_so(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    loopback = serve(model_folder)
    first = bring(registry, loopback.hub, "acme/intents", recorder)
    loopback.faults.requests.clear()
    check = Check()
    again = prepare_hub_import(registry, loopback.hub, "acme/intents", check=check, reporter=recorder)
    assert again == first and check.seen == [] and loopback.faults.byte_requests == []
    assert "already imported as acme/intents:1" in recorder.messages[-1]
    for task in (None, "text-classification"):
        assert bring(registry, loopback.hub, "acme/intents", recorder, task=task) == first


def test_importing_again_repairs_what_was_damaged(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    loopback = serve(model_folder)
    version = bring(registry, loopback.hub, "acme/intents", recorder)
    for entry in version.files[:2]:
        path = registry.blobs.path(entry.sha256)
        path.chmod(0o644)
        path.write_bytes(b"?" + path.read_bytes()[1:])
    registry.blobs.path(version.files[2].sha256).unlink()
    assert len(registry.models.verify(version.ref)) == 3
    assert bring(registry, loopback.hub, "acme/intents", recorder) == version
    assert registry.models.verify(version.ref) == []


@pytest.mark.parametrize("change", ["other bytes", "not listed"])
def test_a_repair_that_the_hub_cannot_make_any_more_is_an_error_that_names_the_files(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any, change: str
) -> None:
    version = bring(registry, serve(model_folder).hub, "acme/intents", recorder)
    damaged = next(entry for entry in version.files if entry.path == "vocab.txt")
    registry.blobs.path(damaged.sha256).unlink()
    if change == "other bytes":
        (model_folder / "vocab.txt").write_text("other")
    else:
        (model_folder / "vocab.txt").unlink()
    with pytest.raises(Unavailable, match=r"acme/intents:1 is not whole.*vocab\.txt") as caught:
        bring(registry, serve(model_folder).hub, "acme/intents", recorder)
    assert caught.value.code == "damaged-model" and "backup" in caught.value.hint
    assert not any("already imported" in message for message in recorder.messages)


def test_what_was_made_of_the_pickles_of_a_folder_is_made_again_where_it_is_damaged(
    registry: Registry, model_folder: Path, recorder: Any
) -> None:
    weights = (model_folder / "model.safetensors").read_bytes()
    (model_folder / "model.safetensors").unlink()
    (model_folder / "pytorch_model.bin").write_bytes(b"a pickle")

    def convert(source: Path, target: Path) -> dict[str, str]:
        (target / "model.safetensors").write_bytes(weights)
        return {"tool": "1"}

    def again(**options: Any) -> ModelDraft | ModelVersion:
        options |= {"name": Name.parse("mine"), "check": Check(), "reporter": recorder}
        return prepare_folder_import(registry, model_folder, convert=convert, **options)

    draft = again()
    assert isinstance(draft, ModelDraft)
    version = registry.models.publish(draft)
    made = next(entry for entry in version.files if entry.path == "model.safetensors")
    registry.blobs.path(made.sha256).unlink()
    assert again() == version and registry.models.verify(version.ref) == []
    registry.blobs.path(made.sha256).unlink()
    weights = weights[:-1] + b"?"
    with pytest.raises(Unavailable, match=r"mine:1 is not whole.*model\.safetensors"):
        again()


def test_all_minilm_is_a_base_whatever_the_hub_calls_it(
    registry: Registry, serve: Serve, base_folder: Path, recorder: Any
) -> None:
    hub = serve(base_folder, model_id=MINILM, pipeline_tag="sentence-similarity").hub
    version = bring(registry, hub, MINILM, recorder)
    assert version.task is None and version.ref == f"{MINILM}:1"
    assert "text-classification" in version.facts.finetunable_tasks


def test_a_task_without_a_head_is_refused_before_the_weights_are_fetched(
    registry: Registry, serve: Serve, base_folder: Path, recorder: Any
) -> None:
    loopback = serve(base_folder, model_id=MINILM, pipeline_tag="sentence-similarity")
    with pytest.raises(Refused, match="no head for text-classification") as caught:
        bring(registry, loopback.hub, MINILM, recorder, task="text-classification")
    assert caught.value.code == "no-head" and "import it without --task" in caught.value.hint
    assert not [path for path, _ in loopback.faults.byte_requests if path.endswith(".safetensors")]
    assert registry.models.list() == []


def test_a_task_outside_the_nine_is_refused_before_anything_is_asked(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    loopback = serve(model_folder)
    with pytest.raises(Refused, match="'object-detection'"):
        bring(registry, loopback.hub, "acme/intents", recorder, task="object-detection")
    assert loopback.faults.requests == []


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("config.json", b'{"auto_map": {"AutoModel": "m.X"}, "architectures": ["BertModel"]}', "remote-code"),
        ("config.json", b'{"architectures": ["BertModel"], "_attn_implementation_internal": "x/y"}', "remote-code"),
        ("config.json", b'{"a": 1, "a": 2}', "duplicate-key"),
        ("tokenizer_config.json", b'{"auto_map": {}}', "remote-code"),
    ],
)
def test_an_unsafe_configuration_is_refused_before_the_weights_are_fetched(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any, name: str, data: bytes, code: str
) -> None:
    (model_folder / name).write_bytes(data)
    (model_folder / "m.py").write_text("raise SystemExit")
    loopback = serve(model_folder)
    with pytest.raises(Refused, match=name) as caught:
        bring(registry, loopback.hub, "acme/intents", recorder)
    assert caught.value.code == code
    assert not [path for path, _ in loopback.faults.byte_requests if path.endswith((".safetensors", ".py"))]


def test_pickle_beside_safetensors_and_python_files_are_not_fetched(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    for name in ("pytorch_model.bin", "modeling.py", "training_args.bin"):
        (model_folder / name).write_bytes(b"\x80\x04boom")
    loopback = serve(model_folder)
    version = bring(registry, loopback.hub, "acme/intents", recorder)
    asked = {path.rpartition("/")[2] for path, _ in loopback.faults.byte_requests}
    assert asked == {entry.path for entry in version.files}
    assert not asked & {"pytorch_model.bin", "modeling.py", "training_args.bin"}


def test_pickle_alone_is_refused_with_nothing_fetched(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    loopback = serve(model_folder)
    with pytest.raises(Refused, match=r"pytorch_model\.bin") as caught:
        bring(registry, loopback.hub, "acme/intents", recorder)
    assert caught.value.code == "pickle-weights" and loopback.faults.byte_requests == []


def test_weights_that_are_no_safetensors_are_never_loaded(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    (model_folder / "model.safetensors").write_bytes(b"\x80\x04\x95" + bytes(500))
    check = Check()
    with pytest.raises(Refused) as caught:
        bring(registry, serve(model_folder).hub, "acme/intents", recorder, check)
    assert caught.value.code == "bad-safetensors" and check.seen == []


def test_a_model_that_does_not_load_is_not_published_and_leaves_no_staging(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    check = Check(Refused("It does not load.", code="load-check"))
    with pytest.raises(Refused, match="does not load"):
        bring(registry, serve(model_folder).hub, "acme/intents", recorder, check)
    assert registry.models.list() == [] and list((registry.root / "staging").iterdir()) == []


def test_another_name_may_be_given(registry: Registry, serve: Serve, model_folder: Path, recorder: Any) -> None:
    version = bring(registry, serve(model_folder).hub, "acme/intents", recorder, name=Name.parse("mine"))
    assert version.ref == "mine:1" and version.source.id == "acme/intents"


def test_the_token_is_in_nothing_that_is_kept_or_said(
    registry: Registry, serve: Serve, model_folder: Path, recorder: Any
) -> None:
    loopback = serve(model_folder)
    loopback.faults.token = TOKEN
    version = bring(registry, Hub(loopback.url, TOKEN), "acme/intents", recorder)
    kept = b"".join(path.read_bytes() for path in registry.root.rglob("*") if path.is_file())
    assert TOKEN.encode() not in kept and TOKEN not in json.dumps(version.to_json()) + " ".join(recorder.messages)


def test_a_folder_becomes_a_version_and_again_is_a_no_op(
    registry: Registry, model_folder: Path, recorder: Any, tmp_path: Path
) -> None:
    def bring_folder(folder: Path) -> ModelDraft | ModelVersion:
        return prepare_folder_import(registry, folder, name=Name.parse("mine"), check=Check(), reporter=recorder)

    draft = bring_folder(model_folder)
    assert isinstance(draft, ModelDraft) and draft.source.kind == "folder" and draft.facts.license == "apache-2.0"
    version = registry.models.publish(draft)
    assert bring_folder(model_folder) == version and "already imported as mine:1" in recorder.messages[-1]
    assert bring_folder(model_folder.rename(tmp_path / "moved")) == version
    (tmp_path / "moved" / "vocab.txt").write_text("changed")
    assert isinstance(bring_folder(tmp_path / "moved"), ModelDraft)
    assert (tmp_path / "moved" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no-config"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "x.bin"), "pickle-weights"),
        (lambda folder: (folder / "config.json").write_text('{"auto_map": 1}'), "remote-code"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "bad-safetensors"),
        (lambda folder: (folder / "merges.txt").symlink_to("/etc/passwd"), "unexpected-symlink"),
    ],
)
def test_a_folder_that_cannot_be_imported_is_refused_by_name(
    registry: Registry, model_folder: Path, recorder: Any, change: Callable[[Path], Any], code: str
) -> None:
    change(model_folder)
    with pytest.raises(Refused) as caught:
        prepare_folder_import(registry, model_folder, name=Name.parse("mine"), check=Check(), reporter=recorder)
    assert caught.value.code == code and caught.value.hint


def test_a_snapshot_of_the_hub_cache_is_a_folder_like_any_other(
    registry: Registry, model_folder: Path, recorder: Any, tmp_path: Path
) -> None:
    cache = tmp_path / "models--acme--intents"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, path in enumerate(sorted(model_folder.iterdir())):
        path.rename(cache / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    draft = prepare_folder_import(registry, snapshot, name=Name.parse("mine"), check=Check(), reporter=recorder)
    assert draft.facts.task == "text-classification"


def test_what_is_no_folder_is_refused(registry: Registry, tmp_path: Path, recorder: Any) -> None:
    with pytest.raises(Refused) as caught:
        prepare_folder_import(registry, tmp_path / "no", name=Name.parse("x"), check=Check(), reporter=recorder)
    assert caught.value.code == "no-folder" and str(tmp_path) not in caught.value.message
