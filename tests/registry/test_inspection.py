"""What a model is, read from its files, and what is refused before anything loads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.cards import CardFacts, card_body, card_facts, read_card
from bedplate_registry.errors import Refused
from bedplate_registry.inspection import check_configs, inspect_folder

MakeModel = Callable[..., Path]


def test_a_classifier_is_described_from_its_files(model_folder: Path) -> None:
    facts = inspect_folder(model_folder)
    assert (facts.task, facts.architecture, facts.model_type) == (
        "text-classification",
        "BertForSequenceClassification",
        "bert",
    )
    assert facts.parameters == 32 * 8 + 8 * 8 + 3 * 8 + 3  # without the position ids
    assert facts.dtype == "float32" and facts.labels == ("card", "refund", "login")
    assert facts.context_length == 16 and facts.license == "apache-2.0" and facts.languages == ("en", "no")
    assert "token-classification" in facts.finetunable_tasks
    assert facts.size_bytes == sum(path.stat().st_size for path in model_folder.iterdir())
    assert facts.license_spdx == "Apache-2.0" and facts.library == "transformers"


def test_what_a_card_says_of_author_data_and_base_is_taken_and_an_author_of_the_card_goes_before_the_hubs(
    model_folder: Path,
) -> None:
    front = "authors: [Ada, Grace]\nbase_model: bert-base-uncased\ndatasets: [glue, ' acme/tickets ', glue, 3]\n"
    (model_folder / "README.md").write_text(f"---\n{front}---\n# Card\n")
    facts = inspect_folder(model_folder, card=CardFacts(author="acme", datasets=("imdb",)))
    assert (facts.author, facts.datasets, facts.base_model) == ("Ada", ("imdb",), ("bert-base-uncased",))
    assert inspect_folder(model_folder).datasets == ("glue", "acme/tickets")


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("---\nlicense: mit\n---\n# Card", "# Card"),
        ("---\r\nlicense: mit\r\n---\r\n# Card", "# Card"),
        ("---\nopen", "---\nopen"),
        ("# Card\n---\n", "# Card\n---\n"),
        ("", ""),
    ],
)
def test_a_cards_body_is_what_follows_its_front_matter(text: str, body: str) -> None:
    assert card_body(text) == body


def test_a_model_without_a_head_is_a_base_whatever_its_tag(base_folder: Path) -> None:
    for tag in (None, "sentence-similarity", "feature-extraction", "text-classification"):
        facts = inspect_folder(base_folder, pipeline_tag=tag)
        assert facts.task is None and facts.labels == ()


@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "summarization"])
def test_a_task_whose_head_is_missing_is_refused_by_name(base_folder: Path, task: str) -> None:
    with pytest.raises(Refused, match=f"no head for {task}: its architecture is BertModel") as caught:
        inspect_folder(base_folder, task=task)
    assert caught.value.code == "no-head" and "without --task" in caught.value.hint


def test_an_architecture_that_promises_a_head_the_weights_lack_is_no_classifier(
    make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "liar", tensors={"embeddings.weight": ("F32", (4, 4))})
    assert inspect_folder(folder).task is None
    with pytest.raises(Refused, match="its weights hold none"):
        inspect_folder(folder, task="text-classification")


def test_a_task_outside_the_nine_is_refused(model_folder: Path) -> None:
    with pytest.raises(Refused) as caught:
        inspect_folder(model_folder, task="object-detection")
    assert caught.value.code == "unknown-task"


def test_the_licenses_of_hub_and_readme_both_hold_and_the_readme_says_what_the_hub_does_not(model_folder: Path) -> None:
    facts = inspect_folder(model_folder, card=CardFacts("mit", (), None))
    assert facts.license == "mit, apache-2.0", "they contradict each other, so both hold"
    assert facts.languages == ("en", "no")


@pytest.mark.parametrize(
    ("given", "code", "shown"),
    [
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "remote-code", "auto_map"),
        ({"text_config": {"AUTO_MAP": {}}}, "remote-code", "text_config.AUTO_MAP"),
        ({"layers": [{"x": {"trust_remote_code": True}}]}, "remote-code", "layers[0].x.trust_remote_code"),
        ({"custom_pipelines": {}}, "remote-code", "custom_pipelines"),
        ({"_attn_implementation_internal": "org/kernel"}, "remote-code", "_attn_implementation_internal"),
        ({"attn_implementation": "org/kernel"}, "remote-code", "attn_implementation"),
        ({"text_config": {"_attn_implementation": "a/b@v1:c"}}, "remote-code", "text_config._attn_implementation"),
        ({"experts_implementation": {"": "org/kernel"}}, "remote-code", "experts_implementation"),
        ({"transformers_weights": "pytorch_model.bin"}, "other-weights", "transformers_weights"),
        ({"text_config": {"Transformers_Weights": None}}, "other-weights", "text_config.Transformers_Weights"),
        ({"_commit_hash": "abc"}, "internal-key", "_commit_hash"),
        ({"vision_config": {"_from_auto": True}}, "internal-key", "vision_config._from_auto"),
    ],
)
def test_keys_that_run_code_or_steer_the_loader_are_refused_by_name(
    make_model: MakeModel, tmp_path: Path, given: dict[str, Any], code: str, shown: str
) -> None:
    folder = make_model(tmp_path / "m", config=given)
    with pytest.raises(Refused) as caught:
        inspect_folder(folder)
    assert caught.value.code == code and shown in caught.value.message


def test_a_key_written_with_escapes_is_the_same_key(model_folder: Path) -> None:
    (model_folder / "config.json").write_text('{"\\u0061uto_map": {}}')
    with pytest.raises(Refused, match="auto_map"):
        check_configs(model_folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json", "1_Pooling/config.json"])
def test_every_configuration_is_looked_at(model_folder: Path, name: str) -> None:
    (model_folder / name).parent.mkdir(exist_ok=True)
    (model_folder / name).write_text('{"auto_map": {"AutoTokenizer": ["x.Y", null]}}')
    with pytest.raises(Refused, match=name):
        inspect_folder(model_folder)


def test_harmless_underscore_keys_and_the_tokenizers_own_are_kept(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", config={"_name_or_path": "someone/else", "_commit_hash": None})
    (folder / "tokenizer_config.json").write_text('{"_internal_of_a_tokenizer": 1}')
    assert inspect_folder(folder).task == "text-classification"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a": 1, "a": 2}', "duplicate-key"),
        ('{"x": {"model_type": "bert", "b": [], "model_type": "evil"}}', "duplicate-key"),
        ("{", "bad-json"),
        ('{"a": NaN}', "bad-json"),
        ('{"a": -Infinity}', "bad-json"),
        ('{"a":' * 100_000, "bad-json"),
        ("[" * 200_000, "bad-json"),
        ('{"a": "' + "x" * (33 << 20) + '"}', "bad-json"),
        ("[]", "bad-json"),
    ],
)
def test_a_config_that_readers_could_read_differently_is_refused(model_folder: Path, text: str, code: str) -> None:
    (model_folder / "config.json").write_text(text)
    with pytest.raises(Refused) as caught:
        inspect_folder(model_folder)
    assert caught.value.code == code and "config.json" in caught.value.message


def test_a_known_way_to_compute_may_be_named(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", config={"attn_implementation": "sdpa", "_attn_implementation": "eager"})
    assert inspect_folder(folder).task == "text-classification"


def test_a_deep_config_hides_no_key(model_folder: Path) -> None:
    (model_folder / "config.json").write_text('{"a":' * 500 + '{"auto_map": 1}' + "}" * 500)
    with pytest.raises(Refused, match=r"auto_map|too deep"):
        check_configs(model_folder)


def test_duplicate_labels_in_a_vocabulary_are_the_tokenizers_business(model_folder: Path) -> None:
    (model_folder / "vocab.json").write_text('{"a": 1, "a": 2, "auto_map": 3}')
    assert inspect_folder(model_folder).task == "text-classification"


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"id2label": {"1": "b", "0": "a", "2": "c"}}, ("a", "b", "c")),
        ({"id2label": None, "num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {}}, ("LABEL_0", "LABEL_1")),
    ],
)
def test_labels_are_in_the_order_of_the_outputs(
    make_model: MakeModel, tmp_path: Path, given: dict[str, Any], labels: tuple[str, ...]
) -> None:
    assert inspect_folder(make_model(tmp_path / "m", config=given)).labels == labels


@pytest.mark.parametrize(
    "given",
    [{"id2label": {"0": "a", "2": "b"}}, {"id2label": {"x": "a"}}, {"id2label": {}, "num_labels": 10**9}],
)
def test_labels_that_make_no_sense_are_refused(make_model: MakeModel, tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        inspect_folder(make_model(tmp_path / "m", config=given))
    assert caught.value.code == "bad-config"


@pytest.mark.parametrize(
    ("given", "tokenizer", "length"),
    [
        ({"max_position_embeddings": 512}, {"model_max_length": 256}, 256),
        ({"max_position_embeddings": 512}, {"model_max_length": 10**30}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, {}, 512),
        ({"max_position_embeddings": None}, {}, None),
    ],
)
def test_the_context_length_is_what_the_positions_and_the_tokenizer_allow(
    make_model: MakeModel, tmp_path: Path, given: dict[str, Any], tokenizer: dict[str, int], length: int | None
) -> None:
    folder = make_model(tmp_path / "m", config=given)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert inspect_folder(folder).context_length == length


def test_sharded_weights_are_read_through_their_index(
    model_folder: Path, safetensors_bytes: Callable[..., bytes]
) -> None:
    (model_folder / "model.safetensors").unlink()
    shards = {
        "model-00001-of-00002.safetensors": {"embeddings.weight": ("F16", (4, 4))},
        "model-00002-of-00002.safetensors": {"classifier.weight": ("F16", (3, 4))},
    }
    for name, tensors in shards.items():
        (model_folder / name).write_bytes(safetensors_bytes(tensors))
    places = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    index = model_folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    facts = inspect_folder(model_folder)
    assert (facts.parameters, facts.dtype, facts.task) == (28, "float16", "text-classification")
    for wrong, what in [
        ({**places, "lost": "model-00001-of-00002.safetensors"}, "'lost'"),
        ({**places, "x": "../../etc/passwd"}, "not there"),
        ({"embeddings.weight": "model-00001-of-00002.safetensors"}, ""),
        ([], "weight_map"),
    ]:
        index.write_text(json.dumps({"weight_map": wrong}))
        if wrong == {"embeddings.weight": "model-00001-of-00002.safetensors"}:
            assert inspect_folder(model_folder).task is None
            continue
        with pytest.raises(Refused, match=what):
            inspect_folder(model_folder)


@pytest.mark.parametrize(
    "text",
    [
        "no front matter",
        "---\n: : [\n---\n",
        "---\n- a list\n---\n",
        "---\nlicense: 3\nlanguage: {a: b}\n---\n",
        "---\nopen",
        "---\na: " + "[" * 50_000 + "\n---\n",
        "---\na: " + "[" * 50_000 + "]" * 50_000 + "\n---\n",
        "---\n" + "- " * 20_000 + "\n---\n",
        "---\na0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))
        + "---\n",
    ],
)
def test_a_card_that_says_nothing_readable_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_card(tmp_path / "README.md") == CardFacts()


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\x9b", "\u202e", "\u200b", "\ud800"], ids=ascii)
def test_what_strangers_wrote_is_one_line_without_what_a_terminal_would_obey(
    make_model: MakeModel, tmp_path: Path, letter: str
) -> None:
    bad = f"a{letter}[31m{letter}b\n" + "c" * 5000
    said = card_facts({"license": bad, "language": [bad] * 999, "pipeline_tag": bad, "author": bad, "datasets": bad})
    folder = make_model(tmp_path / "model", config={"model_type": bad, "architectures": [bad]})
    facts = inspect_folder(folder, card=said)
    shown = [said.license, *facts.languages, said.pipeline_tag, facts.author, *facts.datasets]
    for text in (*shown, facts.model_type, facts.architecture):
        assert text is not None and text.isprintable() and text.startswith("a[31mb c") and len(text) <= 200
    assert len(facts.languages) == 1


TIMM = {
    "architecture": "resnet50",
    "num_classes": 3,
    "pretrained_cfg": {"input_size": [3, 224, 224], "classifier": "fc"},
    "label_names": ["card", "refund", "login"],
}
TIMM_TENSORS = {"conv1.weight": ("F32", (8, 3)), "fc.weight": ("F32", (3, 8)), "fc.bias": ("F32", (3,))}


def make_timm(make_model: MakeModel, folder: Path, **config: object) -> Path:
    """As timm writes it to the Hub: no class of transformers is named."""
    made = make_model(folder, tensors=TIMM_TENSORS)
    (made / "config.json").write_text(json.dumps(TIMM | config))
    return made


def test_a_model_of_timm_classifies_images_through_the_wrapper(make_model: MakeModel, tmp_path: Path) -> None:
    facts = inspect_folder(make_timm(make_model, tmp_path / "m"))
    assert (facts.task, facts.architecture) == ("image-classification", "TimmWrapperForImageClassification")
    assert facts.model_type == "timm_wrapper" and facts.library == "timm"
    assert facts.labels == ("card", "refund", "login")


def test_labels_that_only_timm_knows_are_not_made_up(make_model: MakeModel, tmp_path: Path) -> None:
    assert inspect_folder(make_timm(make_model, tmp_path / "m", label_names=None)).labels == ()


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "hf-hub:someone/else"},
        {"architecture": "local-dir:/tmp/x"},
        {"architecture": "someone/else"},
        {"architecture": None},
        {"architecture": ["resnet50"]},
        {"model_args": {"checkpoint_path": "/tmp/x.pth"}},
        {"model_args": {"pretrained": True}},
        {"model_args": {"pretrained_cfg": {"file": "x.pth"}}},
        {"model_args": {"cache_dir": "/tmp"}},
        {"model_args": ["checkpoint_path"]},
    ],
    ids=str,
)
def test_a_model_of_timm_that_would_be_read_from_elsewhere_is_refused(
    make_model: MakeModel, tmp_path: Path, config: dict[str, object]
) -> None:
    with pytest.raises(Refused, match=r"config\.json") as caught:
        inspect_folder(make_timm(make_model, tmp_path / "m", **config))
    assert caught.value.code == "bad-config"


@pytest.mark.parametrize(
    ("said", "license"),
    [
        ("license: MIT", "mit"),
        ("license: [mit, CC-BY-NC-4.0, mit]", "mit, cc-by-nc-4.0"),
        ("license: other\nlicense_name: Llama-NC", "other, llama-nc"),
        ("license: other", "other"),
        ("license: mit\nlicense_name: mine", "mit"),
        ("license_name: mine", None),
        ("license: [3]", None),
    ],
)
def test_a_card_names_every_license_it_lists_and_the_other_one_by_its_name(
    tmp_path: Path, said: str, license: str | None
) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"---\n{said}\n---\n")
    assert read_card(card).license == license
