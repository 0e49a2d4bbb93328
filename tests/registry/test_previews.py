"""What an import would do, told before it: the same answers as the import's own, from a few small requests."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import hubguard, hubpeek, previews
from bedplate_registry.errors import Forbidden, NotFound, Refused, Unavailable
from bedplate_registry.hub import Hub
from bedplate_registry.importing import prepare_hub_import
from bedplate_registry.models import ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.previews import preview_folder, preview_hub
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry

Serve = Callable[..., Any]
MODEL = "acme/intents"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def imported(registry: Registry, hub: Hub, recorder: Any, **options: Any) -> ModelVersion:
    draft = prepare_hub_import(registry, hub, MODEL, check=lambda folder, facts: {}, reporter=recorder, **options)
    assert not isinstance(draft, ModelVersion)
    return registry.models.publish(draft)


def code(preview: previews.Preview) -> str | None:
    return preview.problem.code if preview.problem else None


def test_the_facts_are_those_that_the_import_finds(
    serve: Serve, model_folder: Path, registry: Registry, recorder: Any
) -> None:
    loopback = serve(model_folder, pipeline_tag="text-classification")
    preview = preview_hub(registry, loopback.hub, MODEL)
    version = imported(registry, loopback.hub, recorder)
    assert preview.facts == version.facts
    assert preview.is_exact and preview.problem is None and preview.here is None
    assert {file.path: file.size_bytes for file in preview.files} == {f.path: f.size_bytes for f in version.files}
    assert preview.fetch_bytes == preview.size_bytes == version.facts.size_bytes
    assert preview.config["model_type"] == "bert"


def test_a_tag_that_contradicts_the_architecture_is_a_problem_and_a_task_is_the_way_out(
    serve: Serve, model_folder: Path, registry: Registry, recorder: Any
) -> None:
    loopback = serve(model_folder, pipeline_tag="summarization")
    assert code(preview_hub(registry, loopback.hub, MODEL)) == "task-contradiction"
    loopback.faults.requests.clear()
    with pytest.raises(
        Refused, match=r"tagged summarization, but its architecture Bert.* text-classification"
    ) as caught:
        imported(registry, loopback.hub, recorder)
    assert "--task text-classification" in caught.value.hint
    assert not [path for path, _ in loopback.faults.byte_requests if path.endswith(".safetensors")]
    assert code(preview_hub(registry, loopback.hub, MODEL, task="text-classification")) is None
    assert imported(registry, loopback.hub, recorder, task="text-classification").task == "text-classification"


def test_an_import_says_what_it_will_take_before_it_fetches(
    serve: Serve, model_folder: Path, registry: Registry, recorder: Any
) -> None:
    imported(registry, serve(model_folder).hub, recorder)
    [says] = [at for at, text in enumerate(recorder.messages) if "to serve on a CPU" in text]
    [fetches] = [at for at, text in enumerate(recorder.messages) if text.startswith("Fetching")]
    assert says < fetches


def test_nothing_is_kept_and_of_the_weights_only_the_header_is_sent(
    serve: Serve, make_model: Callable[..., Path], tmp_path: Path, registry: Registry
) -> None:
    folder = make_model(tmp_path / "large", tensors={"classifier.weight": ("F32", (3, 1 << 16))})
    loopback = serve(folder)
    preview = preview_hub(registry, loopback.hub, MODEL)
    assert preview.facts is not None and preview.facts.parameters == 3 << 16
    [sent] = [count for path, count in loopback.faults.sent.items() if path.endswith(".safetensors")]
    assert sent <= hubpeek.FIRST_BYTES
    assert [path for path in registry.root.rglob("*") if path.is_file()] == []


def test_a_hub_that_knows_no_ranges_is_cut_off(serve: Serve, model_folder: Path, registry: Registry) -> None:
    loopback = serve(model_folder)
    loopback.faults.ignore_range = True
    preview = preview_hub(registry, loopback.hub, MODEL)
    assert preview.is_exact and preview.problem is None


def test_a_long_header_is_asked_for_twice(
    serve: Serve, model_folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubpeek, "FIRST_BYTES", 16)
    loopback = serve(model_folder)
    assert preview_hub(registry, loopback.hub, MODEL).is_exact
    ranges = [headers["range"] for path, headers in loopback.faults.byte_requests if path.endswith(".safetensors")]
    assert len(ranges) == 2 and ranges[0] == "bytes=0-15"


def test_what_is_here_does_not_count_as_bytes_to_fetch(
    serve: Serve, model_folder: Path, registry: Registry, recorder: Any
) -> None:
    loopback = serve(model_folder)
    version = imported(registry, loopback.hub, recorder)
    preview = preview_hub(registry, loopback.hub, MODEL)
    assert (preview.here, preview.fetch_bytes, preview.problem) == (version.ref, 0, None)
    assert all(file.is_here for file in preview.files)
    elsewhere = preview_hub(registry, loopback.hub, MODEL, name=Name.parse("other/name"))
    assert (elsewhere.here, elsewhere.fetch_bytes) == (None, 0)


def test_shards_are_read_by_their_headers(
    serve: Serve,
    make_model: Callable[..., Path],
    safetensors_bytes: Callable[..., bytes],
    tmp_path: Path,
    registry: Registry,
) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    parts = ({"embeddings.weight": ("F16", (32, 8))}, {"classifier.weight": ("F16", (3, 8))})
    for path, tensors in zip(SHARDS, parts, strict=True):
        (folder / path).write_bytes(safetensors_bytes(tensors))
    weight_map = {name: path for path, tensors in zip(SHARDS, parts, strict=True) for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    facts = preview_hub(registry, serve(folder).hub, MODEL).facts
    assert facts is not None
    assert (facts.parameters, facts.dtype, facts.task) == (280, "float16", "text-classification")


def test_pickles_are_the_problem_that_the_import_would_name(
    serve: Serve, model_folder: Path, registry: Registry, recorder: Any
) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    loopback = serve(model_folder)
    preview = preview_hub(registry, loopback.hub, MODEL)
    with pytest.raises(Refused) as caught:
        imported(registry, loopback.hub, recorder)
    assert preview.problem is not None
    assert preview.problem.to_json() == caught.value.to_json()
    assert preview.problem.code == "pickle-weights"
    converted = preview_hub(registry, loopback.hub, MODEL, convert=True)
    assert (converted.problem, converted.is_exact) == (None, False)
    assert converted.facts is not None and converted.facts.task == "text-classification", "as config.json has it"
    facts = preview_folder(model_folder, convert=True).facts
    assert facts is not None and facts.task == "text-classification" and facts.parameters > 0
    assert "pytorch_model.bin" in {file.path for file in converted.files}


@pytest.mark.parametrize(
    ("change", "task", "expected"),
    [
        ({"auto_map": {"AutoModel": "modeling.Own"}}, None, "remote-code"),
        ({"_internal": 1}, None, "internal-key"),
        ({}, "token-classification", "no-head"),
        ({"architectures": ["BertForTokenClassification"]}, "text-classification", "no-head"),
    ],
)
def test_what_is_unsafe_or_contradicts_is_a_problem_with_the_codes_of_the_import(
    serve: Serve,
    make_model: Callable[..., Path],
    tmp_path: Path,
    registry: Registry,
    change: dict[str, Any],
    task: str | None,
    expected: str,
) -> None:
    preview = preview_hub(registry, serve(make_model(tmp_path / "model", config=change)).hub, MODEL, task=task)
    assert code(preview) == expected
    assert preview.facts is not None and not preview.is_exact


def test_damaged_weights_are_seen_in_the_header(serve: Serve, model_folder: Path, registry: Registry) -> None:
    data = (model_folder / "model.safetensors").read_bytes()
    (model_folder / "model.safetensors").write_bytes(data[:-4])
    assert code(preview_hub(registry, serve(model_folder).hub, MODEL)) == "bad-safetensors"


def test_a_disk_without_room_is_a_problem(
    serve: Serve, model_folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedplate_registry import plans

    monkeypatch.setattr(plans, "SPARE_BYTES", 1 << 60)
    preview = preview_hub(registry, serve(model_folder).hub, MODEL)
    assert code(preview) == "disk-full"
    assert preview.facts is not None and preview.free_bytes


def test_a_file_of_absurd_size_is_refused_and_takes_no_room(
    serve: Serve, model_folder: Path, registry: Registry
) -> None:
    loopback = serve(model_folder)
    app = loopback.faults.app

    async def lying(scope: Any, receive: Any, send: Any) -> None:
        async def changed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [item for item in message["headers"] if item[0] != b"content-length"]
            elif "/api/" in scope["path"]:
                said = json.loads(message["body"])
                for file in said["siblings"]:
                    if file["rfilename"] == "model.safetensors":
                        file["size"] = file["lfs"]["size"] = 1 << 80
                message = {**message, "body": json.dumps(said).encode()}
            await send(message)

        await app(scope, receive, changed)

    loopback.faults.app = lying
    assert code(preview_hub(registry, loopback.hub, MODEL)) == "disk-full"


def test_a_gated_model_is_told_of_by_what_the_hub_says_and_names_the_page(
    serve: Serve, model_folder: Path, registry: Registry
) -> None:
    said = {"safetensors": {"parameters": {"BF16": 7_000}, "total": 7_000}, "gated": "manual"}
    said["config"] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    loopback = serve(model_folder, **said)
    loopback.faults.statuses = [403] * 20
    preview = preview_hub(registry, loopback.hub, MODEL)
    assert preview.problem is not None and preview.model is not None
    assert (preview.problem.code, preview.model.gated) == ("gated", True)
    assert f"{loopback.url}/{MODEL}" in preview.problem.hint
    assert preview.facts is not None
    assert (preview.facts.parameters, preview.facts.dtype, preview.facts.task) == (7_000, "bfloat16", "text-generation")


def test_a_model_that_cannot_be_looked_at_is_an_error(serve: Serve, model_folder: Path, registry: Registry) -> None:
    loopback = serve(model_folder)
    with pytest.raises(NotFound, match="no model"):
        preview_hub(registry, loopback.hub, "acme/nobody")
    with pytest.raises(NotFound, match="no revision 'v9'"):
        preview_hub(registry, loopback.hub, MODEL, revision="v9")
    with pytest.raises(Refused, match="not one of the nine tasks"):
        preview_hub(registry, loopback.hub, MODEL, task="fortune-telling")
    with pytest.raises(Unavailable) as caught:
        preview_hub(registry, Hub(loopback.url, offline=True), MODEL)
    assert caught.value.code == "offline"
    loopback.faults.token = "hf_right"
    with pytest.raises(Forbidden, match="refuses the token") as denied:
        preview_hub(registry, Hub(loopback.url, "hf_wrong"), MODEL)
    assert "hf_wrong" not in str(denied.value.to_json())


def test_a_hub_that_stalls_is_given_up_on(serve: Serve, model_folder: Path, registry: Registry) -> None:
    loopback = serve(model_folder)
    loopback.faults.bytes_per_second = 1
    with pytest.raises(Unavailable, match="did not answer within"):
        preview_hub(registry, Hub(loopback.url, timeout_seconds=0.3), MODEL)


def test_the_largest_models_are_told_of_by_what_the_hub_says(
    serve: Serve, model_folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubpeek, "MOST_VALUES", 40)
    preview = preview_hub(registry, serve(model_folder, safetensors={"parameters": {"F32": 347}}).hub, MODEL)
    assert (preview.is_exact, preview.problem) == (False, None)
    assert preview.facts is not None and preview.facts.parameters == 347
    assert preview.config["model_type"] == "bert"


def test_other_bytes_than_listed_are_a_problem_and_not_facts(
    serve: Serve, model_folder: Path, registry: Registry
) -> None:
    loopback = serve(model_folder)
    loopback.faults.corrupt = True
    assert code(preview_hub(registry, loopback.hub, MODEL)) == "digest-mismatch"


MANY = 100_000


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(json.dumps({"a" * 70_000: [0] * 60_000}), id="a long key above a long list"),
        pytest.param("{" + ",".join(f'"{n}":0' for n in range(MANY)) + ',"9":1}', id="one key twice of many"),
        pytest.param('{"a":[' + "{}," * MANY + "{}]}", id="objects"),
        pytest.param('{"' + "k" * 90_000 + '":' + "[" * 900 + "{}" + "]" * 900 + "}", id="a deep list"),
    ],
)
def test_reading_a_strangers_json_takes_memory_in_proportion(bomb: str) -> None:
    from bedplate_registry.safe_json import check_config, load_json

    tracemalloc.start()
    try:
        with contextlib.suppress(Refused):
            check_config(load_json(bomb.encode(), "config.json"), "config.json")
        assert tracemalloc.get_traced_memory()[1] < 100 * MANY * 4
    finally:
        tracemalloc.stop()


def test_more_values_than_a_model_has_are_not_looked_at(serve: Serve, model_folder: Path, registry: Registry) -> None:
    for number in range(2):
        (model_folder / f"{number}.json").write_text("[" + "[]," * MANY + "[]]")
    assert code(preview_hub(registry, serve(model_folder).hub, MODEL)) == "bad-json"


def test_plans_beyond_a_few_at_a_time_are_asked_to_come_again(
    serve: Serve, model_folder: Path, registry: Registry
) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(previews.AT_ONCE):
            held.enter_context(previews.taken(previews._turns))
        with pytest.raises(Unavailable) as caught:
            preview_hub(registry, serve(model_folder).hub, MODEL)
    assert caught.value.code == "busy"


def test_a_public_hub_sends_nobody_into_the_private_network(
    serve: Serve, model_folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback, inside = serve(model_folder), serve(model_folder)
    loopback.faults.redirect_to = inside.url.replace("127.0.0.1", "localhost")
    assert preview_hub(registry, loopback.hub, MODEL).is_exact, "a private Hub may"
    inside.faults.requests.clear()
    real = hubguard.addresses
    # The Hub of this test is as if it were public.
    monkeypatch.setattr(hubguard, "addresses", lambda host: real("8.8.8.8" if host == "127.0.0.1" else host))
    with pytest.raises(Unavailable) as caught:
        preview_hub(registry, loopback.hub, MODEL)
    assert caught.value.code == "private-address" and inside.faults.requests == []
    with pytest.raises(Unavailable) as caught:
        prepare_hub_import(registry, loopback.hub, MODEL, check=lambda folder, facts: {}, reporter=SILENT)
    assert caught.value.code == "private-address" and inside.faults.requests == []


def test_a_folder_is_looked_at_as_its_import_would(model_folder: Path) -> None:
    preview = preview_folder(model_folder)
    assert preview.facts is not None and preview.problem is None
    assert (preview.facts.task, preview.facts.parameters) == ("text-classification", 347)
    assert code(preview_folder(model_folder, task="token-classification")) == "no-head"
    (model_folder / "model.safetensors").unlink()
    assert code(preview_folder(model_folder)) == "no-weights"
    with pytest.raises(Refused, match="not a folder"):
        preview_folder(model_folder / "nobody")
