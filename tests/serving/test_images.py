"""Images that strangers send are read in every common form, within limits, and what is wrong with one is said."""

from __future__ import annotations

import base64
import io
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.image_files import MAX_BYTES, read_image
from bedplate_serving.predictors.images import FORMATS, decode, parse_image


def picture(width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    """Smooth, and different in every corner."""
    down, across = np.mgrid[0:height, 0:width]
    pixels = np.stack([across * 255 // width, down * 255 // height, (across + down) % 256], -1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PNG = file_of(picture())
TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "sent",
    [
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        TEXT,
        f"  {TEXT}\n",
        base64.encodebytes(PNG).decode(),
        f"data:image/png;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        {"image": TEXT},
        {"image": PNG, "label": "cat"},
        {"bytes": PNG, "path": "cat.png"},
        {"image": {"bytes": PNG, "path": None}, "label": 3},
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_bytes_base64_data_urls_and_rows_are_the_same_image(sent: Any) -> None:
    assert parse_image(sent) == PNG


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("https://example.com/cat.png", "nothing is fetched"),
        ("HTTP://169.254.169.254/latest/meta-data", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("images/cat.jpg", "is a path"),
        ("../../etc/cat.PNG", "is a path"),
        ("data:text/html,<b>hi</b>", "data URL of another kind"),
        ("/etc/passwd", "is not base64"),
        ("a cat", "is not base64"),
        ("ümläut", "is not base64"),
        ("\ud800", "is not base64"),
        ("", "is empty"),
        (b"", "is empty"),
        (None, "not null"),
        (7, "not int"),
        ([TEXT], "not a list"),
        ({}, 'has no "image"; it holds nothing'),
        ({"picture": TEXT}, "'picture'"),
        ({"image": TEXT, "url": "x"}, "unknown key 'url'"),
        ({"image": {"path": "/etc/passwd"}}, "image is an object"),
        ({"image": {"image": TEXT}}, "image is an object"),
    ],
)
def test_what_is_no_image_is_refused_and_says_why(sent: Any, said: str) -> None:
    with pytest.raises(ItemError, match=said):
        parse_image(sent)


def test_an_image_is_limited_in_bytes() -> None:
    with pytest.raises(ItemError, match="an image may have"):
        parse_image(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_as_pillow_reads_it(kind: str) -> None:
    data = file_of(picture(), kind)
    with Image.open(io.BytesIO(data)) as expected:
        assert np.array_equal(np.asarray(decode(data)), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "1", "P", "CMYK", "YCbCr"])
def test_every_color_mode_becomes_rgb(mode: str) -> None:
    image = picture(mode="L").convert(mode) if mode in ("LA", "1") else picture(mode=mode)
    data = file_of(image, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    found = decode(data)
    assert found.mode == "RGB" and np.array_equal(np.asarray(found), np.asarray(image.convert("RGB")))


def test_a_palette_with_transparency_and_an_adobe_cmyk_photo_are_read() -> None:
    palette = picture(mode="P")
    data = file_of(palette, transparency=bytes(range(256)))
    assert np.array_equal(np.asarray(decode(data)), np.asarray(palette.convert("RGB")))
    photo = np.asarray(decode(file_of(picture(mode="CMYK"), "JPEG", quality=95))).astype(int)
    assert np.abs(photo - np.asarray(picture())).mean() < 5


def test_sixteen_bits_are_scaled_and_not_cut() -> None:
    values = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    found = np.asarray(decode(file_of(Image.fromarray(values))))
    assert np.array_equal(found[..., 0], values >> 8) and found.shape == (30, 40, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_white_are_refused(dtype: Any) -> None:
    with pytest.raises(ItemError, match="Convert it to 8"):
        decode(file_of(Image.fromarray(np.ones((8, 8), dtype)), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_is_turned_as_its_camera_was_held(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(picture(), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    found = decode(data)
    assert found.size == ((30, 40) if orientation > 4 else (40, 30))
    assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize(
    "notes", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(99)), b"Exif\0\0nonsense", b"\xff" * 40]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_notes_do_not_spoil_the_picture(notes: bytes) -> None:
    assert decode(file_of(picture(), "JPEG", exif=notes)).size == (40, 30)


def test_of_a_moving_picture_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]
    for kind in ("GIF", "WEBP", "TIFF"):
        data = file_of(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = decode(data).getpixel((4, 4))  # type: ignore[misc]
        assert red > 200 and blue < 50


@pytest.mark.parametrize(
    "data",
    [b"GIF89a", b"%PDF-1.7 ...", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x00\x00\x00\x18ftypheic", PNG[:20]],
    ids=["a start", "PDF", "SVG", "HEIC", "half a header"],
)
def test_what_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(ItemError, match=r"is not an image in one of the formats PNG, JPEG|cannot be decoded"):
        decode(data)


def test_formats_beyond_the_list_are_not_tried() -> None:
    for kind in ("ICO", "PPM", "TGA", "PCX", "EPS"):
        with pytest.raises(ItemError, match="is not an image in one of the formats"):
            decode(file_of(picture(), kind))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_ends_early_is_refused(kind: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))  # nothing to compress
    data = file_of(image, kind)
    for share in (0.2, 0.5, 0.8):
        with pytest.raises(ItemError):
            decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")  # a decoder may complain of what it reads; what counts is how it ends
def test_damaged_files_end_as_an_image_or_as_an_item_error(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    source, data = random.Random(7), file_of(picture(), kind)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(source.choice((1, 3, 20))):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        try:
            assert decode(bytes(damaged)).mode == "RGB"
        except ItemError:
            refused += 1
    assert refused, "nothing that was damaged so was noticed"
    capfd.readouterr()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of_size(width: int, height: int) -> bytes:
    """A whole, valid picture of one bit a pixel, all black: a few kilobytes whatever its size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    rows = bytes((width + 7) // 8 + 1)
    data = b"".join(packer.compress(rows) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8000, 8000), (11_000, 11_000), (20_000, 20_000)])
def test_a_small_file_of_huge_size_is_refused_before_it_is_unpacked(width: int, height: int) -> None:
    data = png_of_size(width, height)
    assert len(data) < 100_000
    with pytest.raises(ItemError, match="larger than 50,000,000 pixels"):
        decode(data)


def test_a_header_alone_may_claim_anything() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0))
    with pytest.raises(ItemError, match="larger than"):
        decode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"x"))


def test_a_strip_that_scaling_would_blow_up_is_refused() -> None:
    with pytest.raises(ItemError, match="may be 100 times the short one"):
        decode(png_of_size(40_000, 2))
    assert decode(png_of_size(200, 2)).size == (200, 2)


@pytest.mark.filterwarnings("ignore")
def test_notes_that_unpack_to_more_than_the_picture_are_refused() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "a" * 80_000_000, zip=True)
    data = file_of(picture(8, 8), pnginfo=notes)
    assert len(data) < 100_000
    with pytest.raises(ItemError):
        decode(data)


def test_a_file_in_the_folder_of_the_data_is_read_by_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "a b.PNG").write_bytes(PNG)
    (folder / "link.png").symlink_to("cats/a b.PNG")
    for path in ("cats/a b.PNG", " ./cats/../cats/a b.PNG\n", "link.png"):
        assert read_image(path, folder) == PNG


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{outside}/cat.png", "leads out"),
        ("../outside/cat.png", "leads out"),
        ("link.png", "leads out"),
        ("linked/cat.png", "leads out"),
        ("{data}/in.png", "leads out"),
        ("no.png", "cannot be read"),
        ("in.png/no.png", "cannot be read"),
        ("ring.png", "cannot be read"),
        ("\0.png", "cannot be read"),
        ("x" * 5000 + ".png", "cannot be read"),
        ("folder.png", "is no file"),
        ("pipe.png", "is no file"),
        ("empty.png", "is empty"),
        ("large.png", "may have"),
    ],
)
def test_a_path_out_of_that_folder_or_to_no_image_is_refused(tmp_path: Path, path: str, said: str) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    for folder in (data, outside, data / "folder.png"):
        folder.mkdir()
    for file in (outside / "cat.png", data / "in.png"):
        file.write_bytes(PNG)
    (data / "link.png").symlink_to(outside / "cat.png")
    (data / "linked").symlink_to(outside)
    (data / "ring.png").symlink_to("ring.png")
    os.mkfifo(data / "pipe.png")
    (data / "empty.png").touch()
    with (data / "large.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ItemError, match=said) as caught:
        read_image(path.format(data=data, outside=outside), data)
    assert len(caught.value.message) < 400 and str(tmp_path) not in caught.value.message.replace(
        path.format(data=data, outside=outside), ""
    )


def test_a_folder_whose_links_lead_into_a_store_is_read_and_the_store_by_no_other_way(tmp_path: Path) -> None:
    folder, store = tmp_path / "data", tmp_path / "store"
    for each in (folder / "cats", store):
        each.mkdir(parents=True)
    for name in ("blob", "other.png"):
        (store / name).write_bytes(PNG)
    (folder / "cats" / "1.png").symlink_to("../../store/blob")
    assert read_image("cats/1.png", folder, store) == PNG
    for path in ("../store/other.png", "cats/../../store/other.png", str(store / "other.png")):
        with pytest.raises(ItemError, match="leads out"):
            read_image(path, folder, store)
    with pytest.raises(ItemError, match="leads out"):
        read_image("cats/1.png", folder)
