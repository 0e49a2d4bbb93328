"""Images that strangers send: found in what they sent, decoded within limits, as upright RGB.

    data = parse_image(item)      on the event loop: bytes, base64 or a data URL; nothing is decoded yet
    image = decode(data)          in the model's thread: all pixels, the first frame, EXIF orientation applied

Nothing is fetched for a request and no file is read: a URL is refused, and so is a path. (Batch scoring reads paths
before, beside the data that names them: image_files.py.) Formats and sizes are limited before any pixel is decoded; a
file that ends early is refused.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from bedplate_registry import image_folders
from bedplate_registry.image_folders import MAX_ASPECT, MAX_PIXELS
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.image_files import is_path, is_url, sized
from bedplate_serving.predictors.text import keys_of, kind_of, shown_key

__all__ = ["MAX_PIXELS", "decode", "parse_image"]

FORMATS = (*image_folders.FORMATS, "TIFF")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_DATA_URL = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream)?(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)


def parse_image(item: Any) -> bytes:
    """The encoded bytes of one image as a caller sent it. Raises ItemError."""
    if isinstance(item, dict):
        return parse_image(_only_value(item))
    if isinstance(item, bytes | bytearray | memoryview):
        return sized(bytes(item))
    if isinstance(item, str):
        return sized(_from_text(item.strip()))
    raise ItemError(f"must be an image's bytes or their base64 text, not {kind_of(item)}")


def decode(data: bytes) -> Image.Image:
    """The picture, all of it decoded: RGB, upright, the first frame. Raises ItemError."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            image.load()
            turn = _turn(image)
            rgb = _rgb(image)
            return rgb if turn is None else rgb.transpose(turn)
    except ItemError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ItemError(f"is larger than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise ItemError(f"is not an image in one of the formats {', '.join(FORMATS)}") from error
    except MemoryError as error:
        raise ItemError("needs more memory to decode than there is") from error
    except Exception as error:
        raise ItemError("cannot be decoded: the file is damaged or ends early") from error


def _only_value(item: dict[Any, Any]) -> Any:
    """The image of `{"image": …}` (a row of columns too) or of `{"bytes": …, "path": …}` (an image in Parquet)."""
    for key, known in (("image", ("image", "label")), ("bytes", ("bytes", "path"))):
        if key not in item:
            continue
        if unknown := sorted(str(name) for name in item if name not in known):
            raise ItemError(f"has the unknown key {shown_key(unknown[0])}; an image has {key!r} alone")
        if isinstance(item[key], dict) and "bytes" not in item[key]:
            raise ItemError(f"{key} is an object; it must be an image's bytes or their base64 text")
        return item[key]
    raise ItemError(f'has no "image"; it holds {keys_of(item)}')


def _from_text(text: str) -> bytes:
    if is_url(text):
        raise ItemError("is a URL: nothing is fetched for a request. Send the image itself, as base64")
    if found := _DATA_URL.match(text[:200]):
        text = text[found.end() :]
    elif text[:5].lower() == "data:":
        raise ItemError("is a data URL of another kind; send data:image/…;base64,…")
    if is_path(text):
        raise ItemError("is a path: no file is read for a request. Send the image itself, as base64")
    try:
        return base64.b64decode("".join(text.splitlines()), validate=True)  # base64 may be broken into lines
    except (binascii.Error, ValueError) as error:
        raise ItemError("is not base64") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ItemError(f"is {width} x {height}: larger than {MAX_PIXELS:,} pixels")
    if not width or not height:
        raise ItemError("has no pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ItemError(f"is {width} x {height}: its long side may be {MAX_ASPECT} times the short one")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # convert() would cut what is brighter than 255, not scale it
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ItemError("has 32 bits for each pixel, without saying what is white. Convert it to 8")
    if image.mode == "RGB":
        return image  # convert() would copy it
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How to turn it to what its camera saw. Damaged notes beside a picture do not spoil the picture."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - EXIF and XMP fail in as many ways as there are tags
        return None
