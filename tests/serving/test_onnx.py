"""Encoders on ONNX Runtime answer as transformers does, need no torch once their graph is there, and take over from
torch while requests run. A graph that is damaged, stale or wrong never answers.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bedplate_registry import durable
from bedplate_registry.errors import Refused
from bedplate_serving.predictors import load_predictor
from bedplate_serving.predictors.encoders import onnx_export
from bedplate_serving.predictors.encoders.encoder import Head, TextEncoder
from bedplate_serving.predictors.encoders.graph_folder import FILES, graph_key, put_graph, put_reason, reason_for_none
from bedplate_serving.predictors.encoders.make_graph import main, make_graph
from bedplate_serving.predictors.encoders.onnx_graph import find_graph
from bedplate_serving.predictors.encoders.onnx_session import open_engine
from bedplate_serving.predictors.encoders.packed import PackedEngine
from bedplate_serving.predictors.encoders.torch_encoder import load_encoder, sample_windows
from bedplate_serving.predictors.text import TextItem
from bedplate_serving.testing import (
    WORDS,
    tiny_masked_lm,
    tiny_question_answerer,
    tiny_text_classifier,
    tiny_token_classifier,
)

CLASSIFY = "text-classification"


def items() -> list[TextItem]:
    """Of very different lengths, some beyond the context, more than one row holds; pairs and other scripts too."""
    source = random.Random(0)
    words = [" ".join(source.choices(WORDS, k=source.choice((1, 2, 5, 20, 90)))) for _ in range(40)]
    pairs = [TextItem(first, second) for first, second in zip(words[:8], words[8:16], strict=True)]
    odd = [TextItem("Größe 😀 naïve"), TextItem("東京", "a"), TextItem("x" * 300)]
    padding = [TextItem("my <pad> card [PAD] is lost"), TextItem("[PAD]<pad>", "a <pad> [PAD]")]
    return [*map(TextItem, words), *padding, *pairs, *odd]


def classifier(family: str) -> Callable[[Path], Path]:
    """Of a family that testing has no builder for."""

    def build(folder: Path) -> Path:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "embedding_size": 24}
        tiny_text_classifier(folder)  # for its tokenizer
        config = getattr(transformers, f"{family}Config")(
            vocab_size=200, max_position_embeddings=66, type_vocab_size=2, num_labels=3, pad_token_id=0, **sizes
        )
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForSequenceClassification")(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
        model.save_pretrained(folder)
        return folder

    return build


MODELS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    **{family: (CLASSIFY, classifier(family)) for family in ("Camembert", "Electra", "DistilBert", "Roberta")},
    "bert": (CLASSIFY, tiny_text_classifier),
    "bert tags": ("token-classification", tiny_token_classifier),
    "xlm-roberta tags": ("token-classification", lambda folder: tiny_token_classifier(folder, family="xlm-roberta")),
    "bert answers": ("question-answering", tiny_question_answerer),
    "roberta answers": ("question-answering", lambda folder: tiny_question_answerer(folder, family="roberta")),
    "bert fills": ("fill-mask", tiny_masked_lm),
    "distilbert fills": ("fill-mask", lambda folder: tiny_masked_lm(folder, family="distilbert")),
    "roberta fills": ("fill-mask", lambda folder: tiny_masked_lm(folder, family="roberta")),
}


def head_of(task: str) -> Head:
    return import_module(f"bedplate_serving.predictors.{task.replace('-', '_')}").HEAD  # type: ignore[no-any-return]


def reference(folder: Path, head: Head, given: list[TextItem], length: int) -> list[Any]:
    """One text at a time through transformers alone: no padding, no batch, nothing of ours."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, head.auto_class).from_pretrained(folder).eval()
    with torch.inference_mode():
        encoded = [tokenizer(*one, truncation=True, max_length=length, return_tensors="pt") for one in given]
        return [head.read(model(**inputs))[0].numpy() for inputs in encoded]


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_answers_as_transformers_does(name: str, tmp_path: Path) -> None:
    task, build = MODELS[name]
    folder = build(tmp_path / "model")
    derived = tmp_path / "derived"
    make_graph(folder, task, derived)
    encoder = TextEncoder(folder, head_of(task), "cpu", 2, derived)
    assert encoder.engine == "onnxruntime" and encoder.is_packed and encoder.workers == 2
    rows = encoder.run(encoder.encode(items()))
    expected = reference(folder, head_of(task), items(), encoder.context_length)
    assert max(np.abs(one - other).max() for one, other in zip(rows, expected, strict=True)) < 1e-4
    assert max(np.abs(one).max() for one in expected) > 0.1
    plain = TextEncoder(folder, head_of(task), "cpu", 1)
    assert plain.facts == encoder.facts
    assert [one.ids for one in plain.encode(items())] == [one.ids for one in encoder.encode(items())]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier in `model` and its graph in `derived`."""
    folder = tmp_path_factory.mktemp("made")
    tiny_text_classifier(folder / "model", ("negative", "neutral", "positive"))
    make_graph(folder / "model", CLASSIFY, folder / "derived")
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """The same to be spoiled."""
    shutil.copytree(made, tmp_path / "own")
    return tmp_path / "own"


def is_opened(folder: Path, task: str = CLASSIFY) -> bool:
    return open_engine(folder / "derived", folder / "model", task) is not None


def test_a_second_start_imports_neither_torch_nor_transformers(made: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bedplate_serving.predictors import load_predictor\n"
        f"made = Path({str(made)!r})\n"
        "predictor = load_predictor(made / 'model', 'text-classification', device='cpu', derived=made / 'derived')\n"
        "predictor.improve()\n"
        "assert predictor.predict(['my card is lost'])[0][0]['label'] in predictor.labels\n"
        "print(predictor.engine, {'torch', 'transformers', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "onnxruntime set()"), done.stderr


def test_importing_the_tasks_of_encoders_imports_no_torch() -> None:
    tasks = ("text_classification", "token_classification", "question_answering", "fill_mask", "features")
    modules = ", ".join(f"bedplate_serving.predictors.{task}" for task in tasks)
    code = f"import sys, {modules}; assert not {{'torch', 'transformers', 'onnxruntime'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def flip_a_weight(folder: Path) -> None:
    data = folder / "derived/graph/packed.data"
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 0x40
    data.write_bytes(raw)


def cut_the_weights(folder: Path) -> None:
    data = folder / "derived/graph/packed.data"
    data.write_bytes(data.read_bytes()[:5000])


def lose_the_tokenizer(folder: Path) -> None:
    (folder / "derived/graph/tokenizer.json").unlink()


def break_the_facts(folder: Path) -> None:
    (folder / "derived/graph/meta.json").write_text('{"key": ')


def change_what_is_said(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Of the graph, in meta.json, its files in order."""
    meta = folder / "derived/graph/meta.json"
    about = json.loads(meta.read_text())
    change(about)
    for name in FILES:
        raw = (folder / "derived/graph" / name).read_bytes()
        about["sizes"][name], about["files"][name] = len(raw), hashlib.sha256(raw).hexdigest()
    meta.write_text(json.dumps(about))


def age(folder: Path) -> None:
    change_what_is_said(folder, lambda about: about["key"]["versions"].update(transformers="1.0.0"))


def swap_the_labels(folder: Path) -> None:
    change_what_is_said(folder, lambda about: about["facts"]["labels"].reverse())


def mistake_a_fact(folder: Path) -> None:
    change_what_is_said(folder, lambda about: about["facts"].update(context_length="64"))


def nest_too_deep(folder: Path) -> None:
    (folder / "derived/graph/meta.json").write_text("[" * 100_000)


def break_the_tokenizer(folder: Path) -> None:
    (folder / "derived/graph/tokenizer.json").write_text("{}")
    change_what_is_said(folder, lambda about: None)


def keep_no_samples(folder: Path) -> None:
    path = folder / "derived/graph/samples.npz"
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez(path, **{name: array[:0] for name, array in kept.items()})
    change_what_is_said(folder, lambda about: None)


def train_the_model(folder: Path) -> None:
    weights = folder / "model/model.safetensors"
    trained = {name: tensor + 0.01 for name, tensor in load_file(weights).items()}
    save_file(trained, weights, metadata={"format": "pt"})


def train_an_adapter(folder: Path) -> None:
    settings = {"peft_type": "LORA", "target_modules": ["query"], "r": 2, "lora_alpha": 2, "layers_to_transform": [0]}
    (folder / "model/adapter").mkdir()
    (folder / "model/adapter/adapter_config.json").write_text(json.dumps(settings))
    name = "base_model.model.bert.encoder.layer.0.attention.self.query"
    weights = {f"{name}.lora_A.weight": torch.ones(2, 32), f"{name}.lora_B.weight": torch.ones(32, 2)}
    save_file(weights, folder / "model/adapter/adapter_model.safetensors")


@pytest.mark.parametrize(
    "spoil",
    [flip_a_weight, cut_the_weights, lose_the_tokenizer, break_the_facts, age, train_the_model, train_an_adapter],
)
def test_a_graph_that_is_damaged_or_stale_never_answers(spoil: Callable[[Path], None], own: Path) -> None:
    assert is_opened(own) and not is_opened(own, "token-classification")
    spoil(own)
    assert not is_opened(own)
    predictor = load_predictor(own / "model", CLASSIFY, device="cpu", threads=1, derived=own / "derived")
    assert predictor.engine == "torch-packed"


@pytest.mark.parametrize(
    "spoil", [swap_the_labels, mistake_a_fact, nest_too_deep, break_the_tokenizer, keep_no_samples]
)
def test_a_graph_that_cannot_be_believed_keeps_no_replica_from_starting(
    spoil: Callable[[Path], None], own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(own)
    predictor = load_predictor(own / "model", CLASSIFY, device="cpu", threads=1, derived=own / "derived")
    assert (predictor.engine, predictor.labels) == ("torch-packed", ("negative", "neutral", "positive"))
    assert spoil is nest_too_deep or "remove that folder" in caplog.text


def test_labels_that_the_model_does_not_name_are_those_that_transformers_counts(own: Path, tmp_path: Path) -> None:
    folder = tiny_question_answerer(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config.pop("id2label", None)
    (folder / "config.json").write_text(json.dumps(config))
    make_graph(folder, "question-answering", tmp_path / "derived")
    load = partial(load_predictor, folder, "question-answering", device="cpu", threads=1, derived=tmp_path / "derived")
    assert load().engine == "onnxruntime"


def test_torch_goes_on_where_the_graph_says_other_things_of_the_model(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = load_predictor(own / "model", CLASSIFY, device="cpu", threads=1, derived=tmp_path)
    swap_the_labels(own)
    shutil.copytree(own / "derived/graph", tmp_path / "graph")
    predictor.improve()
    assert predictor.engine == "torch-packed" and "goes on answering" in caplog.text


def test_a_model_whose_packed_pass_fails_runs_padded_and_the_log_says_why(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_encoder(own / "model", head_of(CLASSIFY), "cpu", 1)
    samples = sample_windows(loaded.tokenizer, loaded.facts)
    loaded.padded.model.forward = without_positions(loaded.padded.model.forward)
    assert PackedEngine.checked(loaded.padded, samples) is None
    assert "TypeError" in caplog.text and "padded" in caplog.text


def without_positions(forward: Callable[..., Any]) -> Callable[..., Any]:
    def call(input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        return forward(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)

    return call


def test_a_whole_graph_that_answers_otherwise_than_its_model_is_not_used(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = find_graph(own / "derived", own / "model", CLASSIFY)
    assert graph is not None
    samples = own / "derived/graph/samples.npz"
    with np.load(samples) as arrays:
        kept = dict(arrays)
    np.savez(samples, **(kept | {"rows": kept["rows"] + 0.01}))
    change_what_is_said(own, lambda about: None)
    assert not is_opened(own)
    assert "does not answer as its model does" in caplog.text


def test_a_graph_that_answers_otherwise_than_its_model_is_not_published(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token sees those of the other texts: what a row alone does not show, several together do."""
    monkeypatch.setattr(onnx_export, "OUT_OF_SIGHT", 0.0)
    with pytest.raises(Refused, match="does not answer as its model does"):
        make_graph(made / "model", CLASSIFY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_torch_held_is_let_go_though_a_batch_still_runs_and_all_was_frozen(made: Path, tmp_path: Path) -> None:
    predictor = load_predictor(made / "model", CLASSIFY, device="cpu", threads=1, derived=tmp_path)
    held = {"engine": predictor._encoder._engine}
    model = weakref.ref(held["engine"].packed.model)
    shutil.copytree(made / "derived/graph", tmp_path / "graph")
    gc.freeze()  # as a replica does once it has loaded
    try:
        batch = threading.Timer(0.5, held.clear)
        batch.start()
        predictor.improve()
        assert predictor.engine == "onnxruntime" and model() is None and gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def improving(predictor: Any) -> threading.Thread:
    """In a thread, as a replica has it: it waits for a graph."""
    thread = threading.Thread(target=predictor.improve, daemon=True)
    thread.start()
    return thread


def test_a_replica_on_torch_changes_over_once_a_sound_graph_takes_the_place_of_a_damaged_one(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flip_a_weight(own)
    predictor = load_predictor(own / "model", CLASSIFY, device="cpu", threads=2, derived=own / "derived")
    texts = [item.text for item in items()]
    before = predictor.probabilities(texts)
    assert (predictor.engine, predictor.workers) == ("torch-packed", 1)
    assert "packed.data is not as it was written" in caplog.text and "remove that folder" in caplog.text
    thread = improving(predictor)
    make_graph(own / "model", CLASSIFY, own / "derived")
    thread.join(60)
    assert (predictor.engine, predictor.workers) == ("onnxruntime", 2)
    assert np.abs(predictor.probabilities(texts) - before).max() < 1e-5
    assert [path.name for path in (own / "derived").iterdir()] == ["graph"]


def test_where_it_is_said_that_there_can_be_no_graph_torch_goes_on_and_the_log_says_why(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = load_predictor(tiny, CLASSIFY, device="cpu", threads=1, derived=tmp_path)
    other, key = graph_key(tmp_path, tiny, "fill-mask"), graph_key(tmp_path, tiny, CLASSIFY)
    put_reason(tmp_path, other, "that of another task")
    assert reason_for_none(tmp_path, key) is None
    with caplog.at_level(logging.INFO):
        thread = improving(predictor)
        put_reason(tmp_path, key, "its head is odd")
        thread.join(60)
    assert not thread.is_alive() and predictor.engine == "torch-packed"
    assert "there is no ONNX graph: its head is odd" in caplog.text


def test_a_folder_that_is_named_by_a_digest_is_for_that_version_whatever_the_times_of_its_files(
    made: Path, tmp_path: Path
) -> None:
    named, model = tmp_path / ("a" * 64), tmp_path / "model"
    shutil.copytree(made / "model", model)
    make_graph(model, CLASSIFY, named)
    os.utime(model / "config.json", (1, 1))  # as a backup may bring it back
    assert open_engine(named, model, CLASSIFY) is not None
    assert open_engine(named.rename(tmp_path / ("b" * 64)), model, CLASSIFY) is None


def link_out(made: Path) -> None:
    data = made / "packed.data"
    data.rename(made.parent / "elsewhere")
    data.symlink_to(made.parent / "elsewhere")


def add_a_file(made: Path) -> None:
    (made / "more").touch()


def add_a_pipe(made: Path) -> None:
    (made / "meta.json").unlink()
    os.mkfifo(made / "meta.json")


def be_a_link(made: Path) -> None:
    made.rename(made.parent / "elsewhere")
    made.symlink_to(made.parent / "elsewhere")


def change_the_key(made: Path) -> None:
    age(made.parent.parent)


@pytest.mark.parametrize("spoil", [link_out, add_a_file, add_a_pipe, be_a_link, change_the_key])
def test_what_is_no_plain_graph_of_that_model_is_not_put_where_replicas_read(
    spoil: Callable[[Path], None], own: Path, tmp_path: Path
) -> None:
    key = graph_key(own / "derived", own / "model", CLASSIFY)
    spoil(own / "derived/graph")
    with pytest.raises(Refused, match="graph"):
        put_graph(own / "derived/graph", tmp_path / "kept", key)
    assert not (tmp_path / "kept").exists()


def test_a_graph_takes_the_place_of_the_one_before_it_and_of_the_note_that_there_is_none(own: Path) -> None:
    derived = own / "derived"
    key = graph_key(derived, own / "model", CLASSIFY)
    (derived / "graph").rename(own / "made")
    put_reason(derived, key, "its head is odd")
    shutil.copytree(own / "made", derived / "graph")
    flip_a_weight(own)
    put_graph(own / "made", derived, key)
    assert is_opened(own) and reason_for_none(derived, key) is None
    assert [path.name for path in derived.iterdir()] == ["graph"]


def test_a_graph_that_was_made_on_another_disk_is_on_this_one_before_it_is_there(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        made = Path(other) / "made"
        shutil.move(own / "derived/graph", made)
        if made.stat().st_dev == own.stat().st_dev:
            pytest.skip("there is one disk only")
        done: list[tuple[str, str]] = []
        monkeypatch.setattr(durable, "fault_hook", lambda what, path: done.append((what, path.name)))
        put_graph(made, own / "derived", graph_key(own / "derived", own / "model", CLASSIFY))
    before = done[: done.index(("after rename", "graph"))]
    assert {name for what, name in before if what == "after fsync"} == {"meta.json", *FILES}
    assert is_opened(own)


def test_a_graph_is_made_by_hand_or_one_line_says_why_not(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(made / "model"), CLASSIFY, str(tmp_path / "derived")]) == 0
    assert open_engine(tmp_path / "derived", made / "model", CLASSIFY) is not None
    capfd.readouterr()
    assert main([str(made / "model"), "question-answering", str(tmp_path / "none")]) == 1
    assert capfd.readouterr().err.startswith("The model has no head for question-answering")
    assert main([]) == 2


def test_an_architecture_that_is_not_packed_stays_on_torch(tmp_path: Path) -> None:
    folder = classifier("Albert")(tmp_path / "model")
    predictor = load_predictor(folder, CLASSIFY, device="cpu", threads=1, derived=tmp_path)
    predictor.improve()  # it does not wait for one
    assert predictor.engine == "torch-padded"
    with pytest.raises(Refused, match="not packed"):
        make_graph(folder, CLASSIFY, tmp_path / "derived")
    assert list((tmp_path / "derived").iterdir()) == []


def test_batches_that_run_at_once_answer_as_each_alone(made: Path) -> None:
    encoder = TextEncoder(made / "model", head_of(CLASSIFY), "cpu", 2, made / "derived")
    windows = encoder.encode(items())
    expected = [encoder.run([window])[0] for window in windows]
    failures: list[float] = []

    def run(seed: int) -> None:
        source = random.Random(seed)
        for _ in range(50):
            places = source.sample(range(len(windows)), 8)
            rows = encoder.run([windows[place] for place in places])
            failures.extend(
                difference
                for place, row in zip(places, rows, strict=True)
                if (difference := float(np.abs(row - expected[place]).max())) > 1e-5
            )

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_replica_changes_over_under_load_without_an_error(floor: Any, tiny: Path, tmp_path: Path) -> None:
    """Another process makes the graph meanwhile, and this one sees it appear."""
    make_graph(tiny, CLASSIFY, tmp_path)
    (tmp_path / "graph").rename(tmp_path / "made")
    replica = floor.replica(tiny, derived_dir=str(tmp_path), threads=2)
    bodies = [{"inputs": " ".join(random.Random(seed).choices(WORDS, k=5 + seed))} for seed in range(12)]
    seen: list[tuple[int, int, Any]] = []
    changed = threading.Event()

    def call(caller: int) -> None:
        with replica.client() as client:
            after = 0  # some more once it has changed
            while after < 20:
                after += changed.is_set()
                place = (caller + len(seen)) % len(bodies)
                answer = client.post("/", json=bodies[place])
                seen.append((place, answer.status_code, answer.json()))

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(3)]
    with replica.client() as client:
        engines = [client.get("/info").json()["engine"]]
        for thread in threads:
            thread.start()
        floor.until(lambda: len(seen) > 20, 30, "answers by torch")
        (tmp_path / "made").rename(tmp_path / "graph")
        floor.until(lambda: client.get("/info").json()["engine"] == "onnxruntime", 30, "the graph")
    changed.set()
    for thread in threads:
        thread.join()
    assert engines == ["torch-packed"]
    assert {status for _, status, _ in seen} == {200}
    first = {place: {one["label"]: one["score"] for one in answer[0]} for place, _, answer in reversed(seen)}
    for place, _, [answer] in seen:
        assert {one["label"]: one["score"] for one in answer} == pytest.approx(first[place], abs=1e-5)
