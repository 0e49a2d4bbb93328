"""Folders of images become datasets: which layouts there are, what is refused, and where the images then lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from zlib import crc32

import pytest
from PIL import Image

from bedplate_registry import image_folders
from bedplate_registry.datasets import DatasetVersion
from bedplate_registry.errors import NotFound, Refused, Unavailable
from bedplate_registry.gc import collect
from bedplate_registry.model_versions import FileEntry
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

PETS = Name.parse("pets")
Add = Callable[[Mapping[str, bytes]], DatasetVersion]


def picture(color: str = "red", size: tuple[int, int] = (4, 4), kind: str = "PNG") -> bytes:
    file = BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


RED, BLUE = picture("red"), picture("blue")


@pytest.fixture
def add(registry: Registry) -> Add:
    """Puts files into the store, as uploads do, and makes a dataset of them."""

    def added(files: Mapping[str, bytes]) -> DatasetVersion:
        blobs = {path: registry.blobs.put_bytes(data) for path, data in files.items()}
        entries = [FileEntry(path, blob.size_bytes, blob.sha256) for path, blob in blobs.items()]
        return registry.datasets.add_images(PETS, entries)

    return added


def rows(registry: Registry, version: DatasetVersion) -> list[dict[str, Any]]:
    found = registry.datasets.preview(version, 100)
    digests = {file.path: file.sha256 for file in version.files}
    assert [row.pop("image_sha256") for row in found] == [digests[row["image"]] for row in found]
    return found


def test_the_folder_of_an_image_is_its_label(registry: Registry, add: Add) -> None:
    version = add({"dog/2.png": BLUE, "cat/1.png": RED})
    assert rows(registry, version) == [{"image": "cat/1.png", "label": "cat"}, {"image": "dog/2.png", "label": "dog"}]
    assert (version.ref, version.rows, version.format) == ("pets:1", 2, "jsonl")
    assert [(each.name, each.type) for each in version.schema][:2] == [("image", "image"), ("label", "text")]
    assert [(file.path, file.size_bytes) for file in version.files] == [
        ("cat/1.png", len(RED)),
        ("dog/2.png", len(BLUE)),
    ]
    assert json.loads(json.dumps(version.to_json()))["images"] == 2
    assert registry.datasets.get("pets") == version == add({"dog/2.png": BLUE, "cat/1.png": RED})


def test_other_pixels_under_the_same_names_are_another_table(add: Add) -> None:
    first, second = add({"cat/1.png": RED}), add({"cat/1.png": BLUE})
    assert (second.ref, second.sha256 != first.sha256) == ("pets:2", True)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("metadata.csv", b"file_name,kind\na/1.png,cat\n./2.jpg,dog\n"),
        ("metadata.jsonl", b'{"file_name": "a/1.png", "kind": "cat"}\n{"kind": "dog", "file_name": "2.jpg"}\n'),
    ],
)
def test_metadata_says_what_each_image_is(registry: Registry, add: Add, name: str, metadata: bytes) -> None:
    version = add({"a/1.png": RED, "2.jpg": picture(kind="JPEG"), name: metadata})
    assert rows(registry, version) == [{"image": "a/1.png", "kind": "cat"}, {"image": "2.jpg", "kind": "dog"}]
    assert sorted(file.path for file in version.files) == ["2.jpg", "a/1.png"]


def test_images_alone_have_no_label(registry: Registry, add: Add) -> None:
    kinds = {f"x.{kind}": picture(kind=kind.upper()) for kind in ("png", "webp", "bmp", "gif")}
    version = add({**kinds, "Y.JPG": picture(kind="JPEG")})
    assert [sorted(row) for row in rows(registry, version)] == [["image"]] * 5


CSV = b"file_name,kind\n1.png,cat\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no images"),
        ({"metadata.csv": CSV}, "holds no images"),
        ({"cat/1.png": RED, "cat/notes.txt": b""}, "cat/notes.txt is neither an image nor metadata"),
        ({"cat/1.png": RED, "cat/2.png": b"no image"}, "cat/2.png is not an image"),
        ({"cat/1.png": RED, "cat/2.png": RED[:20]}, "cat/2.png is not an image"),
        ({"cat/1.png": RED, "2.png": RED}, "2.png lies in no folder of a label"),
        ({"cat/big/1.png": RED}, "cat/big/1.png lies deeper"),
        ({"train/cat/1.png": RED, "test/cat/2.png": RED}, "folder test looks like a split"),
        ({"train/1.png": RED, "train/metadata.csv": CSV}, "folder train looks like a split"),
        ({"a/1.png": RED, "a/metadata.csv": CSV}, "metadata at a/metadata.csv"),
        ({"1.png": RED, "metadata.csv": CSV, "metadata.jsonl": b"{}\n"}, "metadata at metadata.csv and"),
        ({"1.png": RED, "metadata.csv": b"path\n1.png\n"}, "no column 'file_name'"),
        ({"1.png": RED, "2.png": RED, "metadata.csv": CSV}, "says nothing of 1 of the images, such as 2.png"),
        ({"2.png": RED, "metadata.csv": CSV}, "Row 1 of metadata.csv names '1.png'"),
        ({"1.png": RED, "metadata.csv": b"file_name\n../1.png\n"}, "names '../1.png'"),
        ({"1.png": RED, "metadata.csv": b"file_name,image\n1.png,x\n"}, "has a column 'image'"),
        ({"1.png": RED, "metadata.csv": b"file_name,kind\n1.png\n"}, "Row 1 has 1 cells"),
        ({"../1.png": RED}, "not safe to keep"),
        ({"long.png": picture(size=(101, 1))}, "long.png is 101 x 1"),
    ],
)
def test_a_folder_that_is_none_is_refused_and_the_file_named(add: Add, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(Refused) as caught:
        add(files)
    assert said in caught.value.message and caught.value.hint


def test_an_image_that_is_too_large_is_refused_by_its_header(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in (8_000, 12_000, 60_000):  # above what is taken; what Pillow warns of; what it refuses
        header = b"IHDR" + side.to_bytes(4, "big") * 2 + RED[24:29]
        with pytest.raises(Refused, match=r"cat/1\.png has more than 50,000,000 pixels"):
            add({"cat/1.png": RED[:12] + header + crc32(header).to_bytes(4, "big") + RED[33:]})
    monkeypatch.setattr(image_folders, "MAX_PIXELS", 15)
    with pytest.raises(Refused, match=r"cat/1\.png has more than 15 pixels"):
        add({"cat/1.png": RED})
    monkeypatch.setattr(image_folders, "MAX_BYTES", 10)
    with pytest.raises(Refused, match=r"cat/1\.png has more than 10 bytes"):
        add({"cat/1.png": RED})


def test_an_image_that_was_not_uploaded_is_named(registry: Registry) -> None:
    with pytest.raises(NotFound, match=r"cat/1\.png") as caught:
        registry.datasets.add_images(PETS, [FileEntry("cat/1.png", 3, "0" * 64)])
    assert caught.value.code == "missing-blob"
    assert registry.datasets.list() == []


def test_the_images_lie_in_a_folder_which_is_made_again_where_it_is_wrong(registry: Registry, add: Add) -> None:
    version = add({"cat/1.png": RED, "dog/2.png": BLUE})
    folder = registry.datasets.folder(version)
    assert (folder / "cat/1.png").read_bytes() == RED and (folder / "dog/2.png").read_bytes() == BLUE
    (folder / "cat/1.png").unlink()
    (folder / "cat/1.png").symlink_to("../dog/2.png")
    assert (registry.datasets.folder(version) / "cat/1.png").read_bytes() == RED
    path = registry.blobs.path(version.files[0].sha256)
    path.chmod(0o644)
    path.write_bytes(b"?")
    with pytest.raises(Unavailable, match=r"pets:1 is not whole.*cat/1\.png"):
        registry.datasets.folder(version)
    [problem] = registry.datasets.verify("pets")
    assert "cat/1.png" in problem
    add({"cat/1.png": RED, "dog/2.png": BLUE})
    assert registry.datasets.verify("pets") == []


def test_images_stay_while_a_version_names_them_and_go_with_the_last_one(registry: Registry, add: Add) -> None:
    first, second = add({"cat/1.png": RED, "cat/2.png": BLUE}), add({"cat/1.png": RED})
    registry.datasets.archive(second.ref, by="olga")
    assert collect(registry, grace_seconds=-60).garbage == ()
    registry.datasets.delete(first.ref, by="olga")
    gone = {each.name for each in collect(registry, grace_seconds=-60).garbage}
    assert gone == {first.sha256, first.files[1].sha256}
    assert registry.datasets.verify(second.ref) == []
    registry.datasets.delete(second.ref, by="olga")
    assert len(collect(registry, grace_seconds=-60).garbage) == 2


@pytest.mark.parametrize(
    ("paths", "what"),
    [
        (["a.png", "b.png", "a.png"], r"a\.png is there twice"),
        (["a.png", "a.png/b.png"], r"a\.png is a file, and the folder of a\.png/b\.png"),
        (["a.png", "a.png.png", "a.png/b/c.png"], r"a\.png is a file, and the folder of a\.png/b/c\.png"),
    ],
)
def test_paths_that_no_folder_can_have_are_refused(registry: Registry, paths: list[str], what: str) -> None:
    blob = registry.blobs.put_bytes(RED)
    with pytest.raises(Refused, match=what) as caught:
        registry.datasets.add_images(PETS, [FileEntry(path, blob.size_bytes, blob.sha256) for path in paths])
    assert caught.value.code == "bad-image-folder"
