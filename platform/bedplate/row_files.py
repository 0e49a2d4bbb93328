"""What a worker wrote of each row that it evaluated a model on, on its way from the job's folder to the registry."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from bedplate.job_folder import DamagedFolder

__all__ = ["drop_rows", "open_rows", "rows_file"]


def rows_file(folder: Path, epoch: int) -> Path:
    """Where the worker of an attempt leaves them, in the folder of its job."""
    return folder / f"predictions-{epoch}.parquet"


def drop_rows(folder: Path) -> None:
    """Removes those of all attempts from the folder of a job."""
    for path in folder.glob("predictions-*.parquet"):
        path.unlink(missing_ok=True)


def open_rows(path: Path) -> BinaryIO:
    """That file, to read. Raises DamagedFolder where it is missing or no plain file: a worker can put a link there."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENOENT):
            raise DamagedFolder.of(path) from exc
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise DamagedFolder.of(path)
    return os.fdopen(number, "rb")
