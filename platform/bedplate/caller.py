"""What the caller's own machine decides, and not the server: the files that may leave it, and the Hub it means."""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from bedplate.settings import Settings
from bedplate_registry.errors import BedplateError, NotFound, Refused, Unavailable
from bedplate_registry.image_folders import SPLITS
from bedplate_registry.names import dataset_name, plain_name

__all__ = [
    "LOOPBACK",
    "as_given",
    "files_of",
    "hub_of_caller",
    "name_of_folder",
    "page_target",
    "parquet_target",
    "path_of",
    "sha256_of",
    "writable",
]

OTHER_FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx", ".html")  # than Parquet
E = TypeVar("E", bound=BedplateError)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def hub_of_caller(hub: str | None) -> str | None:
    """The Hub that the caller named, else that of the caller's environment; None leaves it to the server.

    Raises Unavailable where the caller is offline.
    """
    settings = Settings.from_environment()
    chosen = hub or (settings.hub_url if settings.names_hub else None)
    try:
        host = urlsplit(chosen or "").hostname
    except ValueError:
        host = None  # the server says what is wrong with it
    if settings.offline and host not in LOOPBACK:
        raise Unavailable(
            "BEDPLATE_OFFLINE is set: nothing is fetched from a Hub.",
            hint="Import a folder on this disk with: bedplate import --from DIR --name NAME",
            code="offline",
        )
    return chosen


def files_of(root: Path) -> list[tuple[str, Path]]:
    """What may leave a folder, by the rule that the registry imports by: nothing hidden, no link that leads out of it.

    A snapshot of the Hub cache is made of links to its blobs, which are allowed.
    """
    if not root.is_dir():
        raise NotFound(f"There is no folder {str(root)!r}.", hint="Give the folder that holds config.json.")
    folder = root.resolve()
    allowed = [folder, *([folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else [])]
    found = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        real = path.resolve()
        if not any(real.is_relative_to(place) for place in allowed):
            raise Refused(
                f"{relative.as_posix()} is a link that leads out of the folder.",
                hint="Put the file itself there.",
                code="unexpected-symlink",
            )
        found.append((relative.as_posix(), real))
    return found


def name_of_folder(folder: Path) -> str:
    """What the dataset of a folder of images is called: as the folder, with the one above it where that is a split.

    What no name may have becomes a dash. Raises Refused where nothing is left.
    """
    path = folder.resolve() if folder.name in ("", "..") else folder.absolute()  # a link is called by its own name
    called = f"{path.parent.name}-{path.name}" if path.name.lower() in SPLITS else path.name
    try:
        return str(dataset_name(called))
    except Refused:
        plain = plain_name(called)
    if not plain:
        raise Refused(
            f"The folder {called!r} has no letter or digit that the name of a dataset may have.",
            hint="Give it a name: bedplate datasets add NAME FOLDER",
            code="bad-name",
        )
    return plain


def writable(output: str | Path) -> Path:
    """Where an output may be written, checked before the work that it is the output of."""
    target = Path(output)
    if not target.absolute().parent.is_dir():
        raise NotFound(f"There is no folder {str(target.absolute().parent)!r} for the output.", hint="Make it first.")
    if target.is_dir():
        raise Refused(f"{str(target)!r} is a folder.", hint="Give the name of a file for the output.")
    return target


def parquet_target(output: str | Path) -> Path:
    """As `writable`, for a file that will be Parquet. Raises Refused where its name says another format."""
    target = writable(output)
    if target.suffix.lower() in OTHER_FORMATS:
        name = target.with_suffix(".parquet").name
        raise Refused(
            f"{str(output)!r} ends with {target.suffix!r}, and what is written there is Parquet.",
            hint=f"Name it {name}; for another format open that, as pandas.read_parquet({name!r}) does.",
        )
    return target


def page_target(output: str | Path) -> Path:
    """As `writable`, for a file that will be HTML. Raises Refused where its name says another format, or none."""
    target = writable(output)
    if target.suffix.lower() not in (".html", ".htm"):
        raise Refused(
            f"{str(output)!r} does not end with '.html', and what is written there is HTML.",
            hint=f"Name it {target.with_suffix('.html').name}; a browser opens it, and prints it to other formats.",
        )
    return target


def path_of(value: object, what: str) -> Path:
    """What names a file or a dataset, as a path. Raises Refused for rows themselves, such as a DataFrame."""
    if isinstance(value, str | PathLike):
        return Path(value)
    kind = type(value).__name__
    is_frame = hasattr(value, "to_parquet")
    how = "df.to_parquet('rows.parquet') first" if is_frame else "write the rows to a .jsonl, .csv or .parquet first"
    raise Refused(f"{what} is a {kind}.", hint=f"Give a path, or the name of a dataset: {how}.")


def as_given(error: E, sent: str, given: str) -> E:
    """An error of the server about what was sent, such as the digest of a file, as one about what the caller gave."""
    return type(error)(error.message.replace(sent, given), hint=error.hint, code=error.code)


def sha256_of(path: Path) -> str:
    """The digest of a file of the caller's."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
