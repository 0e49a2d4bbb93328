"""What a model said of each row, as a Parquet file: one line a row, in the order of the data.

row         number in the data, from 1
…           the inputs, by the task's keys
target      what is right: a text, or a list (tags, labels of multi-label rows, right answers)
predicted   what the model said, in the same form; of questions the best answer, "" for none
score       a number, or null
right       true or false, or null for texts
…           the columns that slices were made of, as texts; data.NAME where one of the above has its name
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate_registry.writers import open_writer

from .judged import JudgedRows
from .slice_columns import Columns, free_names

__all__ = ["RowFile"]

OWN = ("row", "target", "predicted", "score", "right")


@dataclass(frozen=True)
class RowFile:
    """The rows of an evaluation, and further columns of the data."""

    judged: JudgedRows
    columns: Columns

    def write(self, path: Path) -> dict[str, Any]:
        """Writes the file; how many `rows` it has, and which `columns`."""
        inputs = tuple(next(self.judged.row_predictions()).inputs)  # data without a row was refused
        further = free_names(self.columns, (*OWN, *inputs))
        columns = ["row", *inputs, *OWN[1:], *further.values()]
        count = 0
        with open_writer(path, "parquet", columns) as writer:
            for count, row in enumerate(self.judged.row_predictions(), 1):  # noqa: B007 - read behind the loop
                own = {name: getattr(row, name) for name in OWN}
                more = {key: self.columns[name][row.row - 1] for name, key in further.items()}
                writer.write({**row.inputs, **own, **more})
        return {"rows": count, "columns": columns}
