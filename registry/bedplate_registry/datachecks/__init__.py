"""The data check: what is wrong with rows for a task, by row number, and what of it can be repaired without a doubt.

codes.py        what can be found
checking.py     the walk over all rows
texts.py labels.py tags.py answers.py written.py images.py   what is looked for, by task
repeats.py      the same input again, and in two splits
truncation.py   what a model would cut
mending.py      repaired copies
"""

from .checking import Checked, Table, check_rows
from .mending import Change, Mender
from .report import Finding, Report
from .truncation import Measure

__all__ = ["Change", "Checked", "Finding", "Measure", "Mender", "Report", "Table", "check_rows"]
