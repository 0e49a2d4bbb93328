"""More than a hundred models and Hubs that mean harm: each is one clear error, and nothing else comes of it.

Of each case holds: a code of its own and a hint, within seconds; nothing of the model is loaded or run; no file outside
the registry; nothing published and nothing left in staging.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import BedplateError
from bedplate_registry.hub import Hub
from bedplate_registry.importing import prepare_folder_import, prepare_hub_import
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from lying_hub import Answer, Liar, Lie, on_bytes, on_info

pytestmark = pytest.mark.timeout(60)  # a case takes some milliseconds; one that hangs is told by name
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer_config.json"
PICKLE = b"\x80\x04cposix\nsystem\n(S'touch pwned'\ntR."


def never(folder: Path, facts: Any) -> dict[str, Any]:
    raise AssertionError("it was loaded")


@dataclass
class Place:
    """Where an import is tried, and what must be as before when it was refused."""

    root: Path
    registry: Registry

    def refused(self, code: str, bring: Callable[[], object]) -> BedplateError:
        outside = self._outside()
        with pytest.raises(BedplateError) as caught:
            bring()
        error = caught.value
        assert error.code == code, f"{error.code}: {error.message}"
        assert error.hint and len(error.message) < 600 and str(self.root) not in error.message
        assert self._outside() == outside
        assert self.registry.models.list() == [] and not (self.registry.root / "models").exists()
        assert not [*self.registry.root.glob("staging/*")]
        return error

    def _outside(self) -> dict[str, int]:
        """Every file that is not the registry's, and that no code of the model ran and made one."""
        found = (*self.root.rglob("*"), *Path.cwd().glob("pwned"))
        others = [path for path in found if not path.is_relative_to(self.registry.root)]
        return {str(path): path.lstat().st_mtime_ns for path in others if path.is_symlink() or path.is_file()}


@pytest.fixture
def place(tmp_path: Path, registry: Registry) -> Place:
    return Place(tmp_path, registry)


# --- names ---

NAMES = {
    "bad-name": [
        *("", " ", "/", "a//b", "a/b/c", "/etc/passwd", "./x", "../x", "~/x", "..", ".", "a/..", "../../etc/passwd"),
        *("https://evil/x", "file:///etc/passwd", "hf://x/y", "a\\b", "..\\x", "a/b\n", "a/b\x00", "a b/c", "a/b;rm"),
        *("a/$(id)", "a/`id`", "ａ/b", "a/é", "a/b\u202e", "-rf/x", "a/-x", "a/b.", ".a/b", "a--b/c", "a/b.git"),
        *("a/" + "x" * 97, "a/b.lock", "a/b?revision=x", "a/b#x", "a/b%2e%2e", "_/x", "a/b:", "a@b"),
    ],
}


@pytest.mark.parametrize("name", NAMES["bad-name"], ids=ascii)
def test_a_name_that_is_none(place: Place, name: str) -> None:
    def bring() -> None:
        prepare_hub_import(place.registry, Hub("http://127.0.0.1:1"), name, check=never, reporter=SILENT)

    place.refused("bad-name", bring)


@pytest.mark.parametrize("revision", ["../main", "a b", "-x", "x" * 300, "main\n", "refs/../../x", "?x=1"], ids=ascii)
def test_a_revision_that_is_none(place: Place, revision: str) -> None:
    def bring() -> None:
        hub = Hub("http://127.0.0.1:1")
        prepare_hub_import(place.registry, hub, "acme/x", revision=revision, check=never, reporter=SILENT)

    place.refused("bad-revision", bring)


# --- what a model holds ---


def write(name: str, data: bytes | str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return change


def configured(**keys: Any) -> Callable[[Path], None]:
    """config.json with more in it."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


def instead(name: str, data: bytes = PICKLE) -> Callable[[Path], None]:
    """The weights are in this file alone."""

    def change(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        write(name, data)(folder)

    return change


def weights(header: Any, data_bytes: int = 16) -> Callable[[Path], None]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return write(WEIGHTS, len(text).to_bytes(8, "little") + text + bytes(data_bytes))


def linked(name: str, target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def sharded(index: Any, *shards: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        instead("model.safetensors.index.json", json.dumps(index).encode())(folder)
        for shard in shards:
            write(shard, data)(folder)

    return change


def sparse(folder: Path) -> None:
    """It says that it is larger than the disk, and takes no room."""
    os.truncate(folder / WEIGHTS, 2 * shutil.disk_usage(folder).free)


TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
SHARD = "model-00001-of-00001.safetensors"
CONTENTS: dict[str, dict[str, Callable[[Path], None]]] = {
    "remote-code": {
        "auto_map": configured(auto_map={"AutoModel": "m.Evil"}),
        "auto_map in capitals": configured(AUTO_MAP={}),
        "auto_map far inside": configured(a=[{"b": {"auto_map": 1}}]),
        "auto_map in escapes": write("config.json", '{"architectures": ["BertModel"], "\\u0061uto_map": {}}'),
        "auto_map of a tokenizer": write(TOKENIZER, '{"auto_map": {"AutoTokenizer": ["t.Evil", null]}}'),
        "auto_map of a generation": write("generation_config.json", '{"auto_map": {}}'),
        "auto_map of a processor": write("preprocessor_config.json", '{"auto_map": {"AutoProcessor": "p.E"}}'),
        "auto_map of a pooling": write("1_Pooling/config.json", '{"auto_map": {}}'),
        "trust_remote_code": configured(text_config={"trust_remote_code": True}),
        "custom_pipelines": configured(custom_pipelines={"x": {"impl": "p.Evil"}}),
        "custom_generate": write("generation_config.json", '{"custom_generate": "evil/x"}'),
        "a kernel from a repository": configured(attn_implementation="evil/kernel"),
        "an internal kernel": configured(_attn_implementation_internal="evil/kernel@v1:f"),
        "experts from a repository": configured(text_config={"experts_implementation": "evil/kernel"}),
    },
    "other-weights": {"other weights": configured(transformers_weights="pytorch_model.bin")},
    "internal-key": {
        "a commit hash": configured(_commit_hash="abc"),
        "from_auto inside": configured(vision_config={"_from_auto": True}),
    },
    "duplicate-key": {
        "a key twice": write("config.json", '{"model_type": "bert", "model_type": "evil"}'),
        "a key twice inside": write(TOKENIZER, '{"a": {"b": 1, "b": 2}}'),
    },
    "bad-json": {
        "no JSON": write("config.json", "{"),
        "no object": write("config.json", "[]"),
        "not a number": write("config.json", '{"a": NaN}'),
        "infinity": write(TOKENIZER, '{"model_max_length": Infinity}'),
        "too deep": write("config.json", '{"a":' * 100_000),
        "brackets": write(TOKENIZER, "[" * 200_000),
        "too large": write("config.json", '{"a": "' + "x" * (33 << 20) + '"}'),
        "not UTF-8": write("config.json", b"\xff\xfe{}"),
        "a pickle": write("config.json", PICKLE),
        "an empty file": write("config.json", b""),
    },
    "bad-config": {
        "labels with a gap": configured(id2label={"0": "a", "7": "b"}),
        "labels without a number": configured(id2label={"x": "a"}),
        "labels without end": configured(id2label=None, num_labels=10**9),
    },
    "no-config": {
        "no config": lambda folder: (folder / "config.json").unlink(),
        "a config without end": linked("config.json", "/dev/zero"),
        "a config in a circle": linked("config.json", "config.json"),
    },
    "bad-safetensors": {
        "a pickle as weights": write(WEIGHTS, PICKLE + bytes(1000)),
        "a header without end": write(WEIGHTS, ((1 << 64) - 1).to_bytes(8, "little") + b"{}" * 50),
        "a header longer than the file": write(WEIGHTS, (1 << 20).to_bytes(8, "little") + b"{}" * 50),
        "an empty weights file": write(WEIGHTS, b""),
        "seven bytes": write(WEIGHTS, b"1234567"),
        "a header that is a list": weights([]),
        "no header": weights(b""),
        "a header that begins with a space": weights(b" " + json.dumps({"a": TENSOR}).encode()),
        "a deep header": weights(b'{"a":' * 100_000),
        "a tensor twice": weights(b'{"a": %b, "a": %b}' % ((json.dumps(TENSOR).encode(),) * 2)),
        "an overlap": weights({"a": TENSOR, "b": TENSOR}),
        "a gap": weights({"a": {**TENSOR, "data_offsets": [4, 20]}}, 20),
        "bytes behind": weights({"a": TENSOR}, 999),
        "bytes missing": weights({"a": TENSOR}, 8),
        "an unknown type": weights({"a": {**TENSOR, "dtype": "PICKLE"}}),
        "a type that is a list": weights({"a": {**TENSOR, "dtype": ["F32"]}}),
        "a negative shape": weights({"a": {**TENSOR, "shape": [-2, -2]}}),
        "a shape that overflows": weights({"a": {**TENSOR, "shape": [1 << 32, 1 << 32]}}),
        "a shape of truths": weights({"a": {**TENSOR, "shape": [True, 4]}}),
        "a hundred dimensions": weights({"a": {**TENSOR, "shape": [1] * 100 + [4]}}),
        "three offsets": weights({"a": {**TENSOR, "data_offsets": [0, 8, 16]}}),
        "a negative offset": weights({"a": {**TENSOR, "data_offsets": [-16, 0]}}),
        "a tensor with more in it": weights({"a": {**TENSOR, "code": "x"}}),
        "a tensor that is text": weights({"a": "x"}),
        "metadata that is no text": weights({"__metadata__": {"format": ["pt"]}, "a": TENSOR}),
        "no number": weights(b'{"a": NaN}'),
        "a shard elsewhere": sharded({"weight_map": {"classifier.weight": "../../evil.safetensors"}}, SHARD),
        "an absolute shard": sharded({"weight_map": {"classifier.weight": "/etc/passwd"}}, SHARD),
        "an index without a map": sharded({"weight_map": ["x"]}, SHARD),
        "an index that lies": sharded({"weight_map": {"nowhere": SHARD}}, SHARD),
    },
    "no-weights": {
        "no weights": lambda folder: (folder / WEIGHTS).unlink(),
        "a shard that is missing": sharded({"weight_map": {}}, "model-00001-of-00002.safetensors"),
    },
    "pickle-weights": {
        f"only {name}": instead(name)
        for name in (
            "pytorch_model.bin",
            "model.pt",
            "model.ckpt",
            "model.pkl",
            "weights.npy",
            "tf_model.h5",
            "a.joblib",
        )
    },
    "gguf-weights": {"only GGUF": instead("model.Q4_K_M.gguf", b"GGUF" + bytes(100))},
    "onnx-weights": {"only ONNX": instead("model.onnx", bytes(100))},
    "adapter-only": {"only an adapter": instead("adapter_model.safetensors", bytes(100))},
    "case-twin": {"names that differ in case": write("README.MD", "# two")},
    "bad-path": {
        "a line in a name": write("a\nb.json", "{}"),
        "a backslash in a name": write("a\\..\\evil.json", "{}"),
        "a colon in a name": write("c:evil.json", "{}"),
        "a name that turns around": write("nosj\u202e.json", "{}"),
        "a name that ends in a dot": write("config.json.", "{}"),
    },
    "unexpected-symlink": {
        "a link to a secret": linked("merges.txt", "/etc/passwd"),
        "a link out by dots": linked("vocab.txt", "../../../../../../etc/hostname"),
        "weights that are a link": linked(WEIGHTS, "/proc/self/environ"),
        "a config that is a link": linked("config.json", "/etc/hostname"),
    },
    "disk-full": {"weights larger than the disk": sparse},
}
CASES = [(code, what, change) for code, cases in CONTENTS.items() for what, change in cases.items()]


@pytest.mark.parametrize(("code", "what", "change"), CASES, ids=[f"{code}: {what}" for code, what, _ in CASES])
def test_a_model_that_means_harm(
    place: Place, model_folder: Path, code: str, what: str, change: Callable[[Path], None]
) -> None:
    change(model_folder)
    write("modeling_evil.py", "open('pwned', 'w')")(model_folder)
    name = Name.parse("mine")
    place.refused(
        code,
        lambda: prepare_folder_import(place.registry, model_folder, name=name, check=never, reporter=SILENT),
    )


# --- Hubs ---


def changed(**keys: Any) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.value = {**answer.value, **keys}

    return change


def without(key: str) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.value = {name: item for name, item in answer.value.items() if name != key}

    return change


def said(body: bytes, **fields: Any) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.body = body
        vars(answer).update(fields)

    return change


def listed(change: Callable[[list[Any]], list[Any]]) -> Callable[[Answer], None]:
    def changed_list(answer: Answer) -> None:
        answer.value = {**answer.value, "siblings": change(answer.value["siblings"])}

    return changed_list


def files(**keys: Any) -> Callable[[Answer], None]:
    """The weights are listed with something else."""
    return listed(lambda files: [{**file, **keys} if file["rfilename"] == WEIGHTS else file for file in files])


def weights_lfs(**keys: Any) -> Callable[[Answer], None]:
    return listed(
        lambda files: [{**file, "lfs": {**file["lfs"], **keys}} if file.get("lfs") else file for file in files]
    )


def more(*paths: str) -> Callable[[Answer], None]:
    return listed(lambda files: [*files, *({**files[0], "rfilename": path} for path in paths)])


def headed(**headers: str) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.headers.update({name.replace("_", "-"): item for name, item in headers.items()})

    return change


def answered(status: int, **headers: str) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.status, answer.body = status, b""
        answer.headers = {name.replace("_", "-"): item for name, item in headers.items()}

    return change


def flipped(answer: Answer) -> None:
    answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:]


def cut(answer: Answer) -> None:
    answer.claims_bytes, answer.body = len(answer.body), answer.body[: len(answer.body) // 2]


def drip(answer: Answer) -> None:
    """One byte at each request."""
    answer.claims_bytes, answer.body = len(answer.body), answer.body[:1]


def longer(answer: Answer) -> None:
    answer.body += b"!"


LIES: dict[str, dict[str, Lie]] = {
    "bad-name": {
        "an id that is a path": on_info(changed(id="../../x")),
        "an id that is a URL": on_info(changed(id="https://evil/x")),
        "an id that is empty": on_info(changed(id="")),
    },
    "hub-inconsistent": {
        "no commit": on_info(without("sha")),
        "a commit that is a path": on_info(changed(sha="../../../../etc")),
        "a commit that is a number": on_info(changed(sha=1)),
        "no id": on_info(without("id")),
        "an id that is a list": on_info(changed(id=["acme", "intents"])),
        "no JSON": on_info(said(b"<html>")),
        "nothing": on_info(said(b"")),
        "half an object": on_info(said(b'{"id": "acme/intents", ')),
        "a list": on_info(said(b"[]")),
        "null": on_info(said(b"null")),
        "an abyss": on_info(said(b"[" * 200_000)),
        "files that are no list": on_info(changed(siblings={"a": 1})),
        "a card that is text": on_info(changed(cardData="x")),
        "files that are an error": on_info(changed(siblings={"error": "x"})),
        "files that are numbers": on_info(changed(siblings=[1, 2])),
        "bytes that are no JSON": on_info(said(b"\x00")),
        "a file without a path": on_info(files(rfilename=None)),
        "files without end": on_info(listed(lambda files: files[:1] * 20_001)),
        "more values than are read": on_info(said(b"[" + b"[]," * 600_000 + b"[]]")),
        "another Hub without end": on_info(answered(302, location="/api/models/acme/intents")),
        "another commit": on_bytes(headed(x_repo_commit="f" * 40)),
        "another commit at the weights": on_bytes(headed(x_repo_commit="f" * 40), WEIGHTS),
        "more than it lists": on_bytes(longer, WEIGHTS),
        "compressed bytes": on_bytes(headed(content_encoding="gzip"), WEIGHTS),
        "a file that is gone": on_bytes(answered(404), WEIGHTS),
        "a teapot": on_bytes(answered(418)),
        "a way to a file": on_bytes(answered(302, location="file:///etc/passwd"), WEIGHTS),
        "a way to another protocol": on_bytes(answered(302, location="gopher://127.0.0.1/x")),
        "a way in a circle": on_bytes(answered(302, location="/acme/intents/resolve/x/model.safetensors"), WEIGHTS),
    },
    "no-connection": {
        "half a file, always": on_bytes(cut, WEIGHTS),
        "a byte at a time": on_bytes(drip, "vocab.txt"),
        "a byte now and then": on_bytes(said(bytes(2022), seconds_a_byte=0.05), WEIGHTS),
        "silence at the weights": on_bytes(said(b"x" * 10, silent_after=5), WEIGHTS),
        "a part that was not asked for": on_bytes(said(b"x", status=206), WEIGHTS),
        "always busy": on_bytes(answered(503, retry_after="0")),
        "a way that is no address": on_bytes(answered(302, location="http://[::1/"), WEIGHTS),
        "a way to nobody": on_bytes(answered(302, location="http://127.0.0.1:1/x"), WEIGHTS),
    },
    "digest-mismatch": {
        "other weights than listed": on_bytes(flipped, WEIGHTS),
        "another vocabulary than listed": on_bytes(flipped, "vocab.txt"),
        "another config than listed": on_bytes(flipped, "config.json"),
        "a digest of other weights": on_info(weights_lfs(sha256="0" * 64)),
    },
    "bad-digest": {
        "a digest that is a path": on_info(weights_lfs(sha256="../../../etc/passwd")),
        "a digest in capitals": on_info(weights_lfs(sha256="A" * 64)),
        "a digest that is short": on_info(weights_lfs(sha256="a" * 63)),
        "a size below nothing": on_info(files(size=-1)),
        "a size that is text": on_info(files(size="9")),
        "a size that is a truth": on_info(files(size=True)),
        "a git digest that is a path": on_info(files(blobId="../../x")),
        "a git digest that is a number": on_info(files(blobId=7)),
    },
    "bad-path": {
        "a path out": on_info(more("../../../evil.json")),
        "an absolute path": on_info(more("/etc/evil.json")),
        "a path of Windows": on_info(more("..\\evil.json")),
        "a path with NUL": on_info(more("a\x00.json")),
        "a path without end": on_info(more("x/" * 40 + "y.json")),
        "an empty path": on_info(more("")),
        "a drive": on_info(more("c:/evil.json")),
    },
    "duplicate-file": {"a file listed twice": on_info(more("config.json"))},
    "case-twin": {"files that differ in case": on_info(more("Config.json"))},
    "disk-full": {"larger than any disk": on_info(files(size=1 << 60))},
    "gated": {
        "weights for others only": on_bytes(answered(403), WEIGHTS),
        "a gate": on_info(answered(403, x_error_code="GatedRepo")),
    },
    "not-found": {"a repository that is gone": on_info(answered(404, x_error_code="RepoNotFound"))},
    "unavailable": {
        "a Hub that fails": on_info(answered(500)),
        "a Hub that is busy for a day": on_info(answered(429, retry_after="90000")),
        "silence at the list": on_info(said(b"{" * 10, silent_after=5)),
        "a list a byte at a time": on_info(said(b" " * 4000, seconds_a_byte=0.05)),
    },
}
IMPATIENT = ("a byte now and then", "silence at the weights", "silence at the list", "a list a byte at a time")
TOLD = [(code, what, lie) for code, lies in LIES.items() for what, lie in lies.items()]


@pytest.mark.parametrize(("code", "what", "lie"), TOLD, ids=[f"{code}: {what}" for code, what, _ in TOLD])
def test_a_hub_that_means_harm(
    place: Place, serve: Callable[..., Any], model_folder: Path, code: str, what: str, lie: Lie
) -> None:
    loopback = serve(model_folder)
    loopback.faults.app = Liar(loopback.faults.app, lie)
    hub = Hub(loopback.url, timeout_seconds=0.3 if what in IMPATIENT else 10, backoff_seconds=0.001)
    place.refused(
        code,
        lambda: prepare_hub_import(place.registry, hub, "acme/intents", check=never, reporter=SILENT),
    )


def test_there_are_more_than_a_hundred_cases() -> None:
    assert len(NAMES["bad-name"]) + len(CASES) + len(TOLD) > 150
