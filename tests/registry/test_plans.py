"""Which files are wanted, and which models are refused by what they consist of."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.hub import HubFile, HubModel
from bedplate_registry.importing import plan_import
from bedplate_registry.plans import check_room

MINILM = [
    *(".gitattributes", "1_Pooling/config.json", "README.md", "config.json", "config_sentence_transformers.json"),
    *("data_config.json", "model.safetensors", "modules.json", "onnx/model.onnx", "onnx/model_O1.onnx"),
    *("openvino/openvino_model.bin", "openvino/openvino_model.xml", "pytorch_model.bin", "rust_model.ot"),
    *("sentence_bert_config.json", "special_tokens_map.json", "tf_model.h5", "tokenizer.json"),
    *("tokenizer_config.json", "train_script.py", "vocab.txt"),
]


def model(*paths: str, size: int = 10) -> HubModel:
    return HubModel("org/name", "0" * 40, tuple(HubFile(path, size, "0" * 40) for path in paths))


def chosen(*paths: str) -> list[str]:
    return [file.path for file in plan_import(model(*paths)).files]


def test_of_many_formats_only_safetensors_and_what_goes_with_it_is_taken() -> None:
    assert chosen(*MINILM) == [
        *("1_Pooling/config.json", "README.md", "config.json", "config_sentence_transformers.json"),
        *("data_config.json", "model.safetensors", "modules.json", "sentence_bert_config.json"),
        *("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    ]


def test_python_files_are_never_taken() -> None:
    paths = chosen("config.json", "model.safetensors", "modeling_x.py", "a/b.py", "handler.py", "setup.cfg")
    assert paths == ["config.json", "model.safetensors"]


def test_tokenizers_licenses_and_templates_are_taken() -> None:
    extra = [
        *("LICENSE", "NOTICE.txt", "added_tokens.json", "chat_template.jinja", "merges.txt"),
        *("sentencepiece.bpe.model", "source.spm", "spiece.model", "target.spm", "tokenizer.model", "vocab.json"),
    ]
    assert set(extra) <= set(chosen("config.json", "model.safetensors", *extra))


def test_other_precisions_optimizers_and_modules_weights_are_left() -> None:
    paths = chosen(
        *("config.json", "model.safetensors", "model.fp16.safetensors", "optimizer.pt", "training_args.bin"),
        *(
            "trainer_state.json",
            "consolidated.safetensors",
            "2_Dense/model.safetensors",
            "pytorch_model.bin.index.json",
        ),
    )
    assert paths == ["config.json", "model.safetensors"]


def test_other_indexes_and_the_configuration_of_an_adapter_are_left() -> None:
    extra = ("adapter_config.json", "adapter_model.safetensors", "model.fp16.safetensors.index.json")
    more = ("flax_model.msgpack.index.json", "tf_model.h5.index.json", "pytorch_model.bin.index.json")
    index = "model.safetensors.index.json"
    assert chosen("config.json", "model.safetensors", index, *extra, *more) == [
        "config.json",
        "model.safetensors",
        index,
    ]


def test_shards_are_taken_with_their_index_and_only_all_of_them() -> None:
    shards = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert chosen("config.json", "model.safetensors.index.json", *shards) == [
        *("config.json", *shards, "model.safetensors.index.json")
    ]
    with pytest.raises(Refused, match="2 of 3 files"):
        chosen("config.json", "model.safetensors.index.json", *shards[:2])


@pytest.mark.parametrize(
    ("paths", "code", "shown"),
    [
        (["config.json", "pytorch_model.bin"], "pickle-weights", "pytorch_model.bin"),
        (["config.json", "weights.pth", "model.onnx"], "pickle-weights", "weights.pth"),
        (["config.json", "tf_model.h5"], "pickle-weights", "tf_model.h5"),
        (["model-q4.gguf"], "gguf-weights", "model-q4.gguf"),
        (["config.json", "model.onnx"], "onnx-weights", "ONNX"),
        (["README.md", "adapter_model.safetensors"], "adapter-only", "adapter_config.json"),
        (["adapter_config.json", "adapter_model.bin"], "pickle-weights", "adapter_model.bin"),
        (["config.json", "README.md"], "no-weights", "model.safetensors"),
        (["model.safetensors"], "no-config", "config.json"),
        (["config.json", "model.safetensors", "Vocab.txt", "vocab.txt"], "case-twin", "Vocab.txt"),
        (["config.json", "model.safetensors", "../evil"], "bad-path", "../evil"),
        (["config.json", "model.safetensors", "a\\..\\b"], "bad-path", "a"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(paths: list[str], code: str, shown: str) -> None:
    with pytest.raises(Refused) as caught:
        plan_import(model(*paths))
    assert caught.value.code == code and shown in caught.value.message and caught.value.hint


def test_of_an_adapter_alone_its_two_files_and_its_small_ones_are_taken() -> None:
    own = ["README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]
    assert chosen(*own, "optimizer.pt", "training_args.bin", "checkpoint-9/adapter_model.safetensors") == own
    assert chosen(*own, "config.json", "pytorch_model.bin") == sorted([*own, "config.json"])


@pytest.mark.parametrize(
    ("paths", "hint"),
    [
        (["config.json", "pytorch_model.bin"], "--convert-weights"),
        (["config.json", "pytorch_model-00001-of-00001.bin"], "--convert-weights"),
        (["config.json", "tf_model.h5"], "save_pretrained"),
        (["config.json", "flax_model.msgpack"], "--from DIR"),
        (["config.json", "model.ckpt"], "--from DIR"),
    ],
)
def test_pickle_is_refused_with_the_way_to_convert_it(paths: list[str], hint: str) -> None:
    with pytest.raises(Refused) as caught:
        plan_import(model(*paths))
    assert caught.value.code == "pickle-weights" and hint in caught.value.hint


def test_pickles_that_are_to_be_converted_are_taken_where_there_are_no_safetensors() -> None:
    def paths(*files: str) -> list[str]:
        return [file.path for file in plan_import(model("config.json", *files), convert=True).files]

    shards = [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    assert paths("pytorch_model.bin", "training_args.bin") == ["config.json", "pytorch_model.bin"]
    assert paths(*shards, "pytorch_model.bin.index.json") == ["config.json", *shards]
    assert paths("pytorch_model.bin", "model.safetensors") == ["config.json", "model.safetensors"]
    with pytest.raises(Refused, match="1 of 2 files"):
        paths(shards[0])
    with pytest.raises(Refused, match=r"tf_model\.h5"):
        paths("tf_model.h5")


def test_a_task_outside_the_nine_is_refused_in_the_plan() -> None:
    with pytest.raises(Refused, match="'object-detection'"):
        plan_import(model("config.json", "model.safetensors"), "object-detection")


def test_a_plan_counts_its_bytes() -> None:
    assert plan_import(model("config.json", "model.safetensors", "big.py", size=7)).size_bytes == 14


def test_a_disk_without_room_is_refused_with_both_figures(tmp_path: Path) -> None:
    check_room(tmp_path / "not" / "yet", 1000)
    with pytest.raises(Refused, match=r"needs 4,547,473\.5 TiB, .* free") as caught:
        check_room(tmp_path / "not" / "yet", 5 * 10**18)
    assert caught.value.code == "disk-full" and "BEDPLATE_HOME" in caught.value.hint
