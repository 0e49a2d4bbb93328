"""A license as the Hub spells it, as the SPDX expression that other tools read.

The list of SPDX ids is that of `packaging`; here stands only where the Hub says something else.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["spdx_of"]

# The Hub's short names, and ids that SPDX replaced by what they always meant.
_HUB_NAMES = {
    "c-uda": "C-UDA-1.0",
    "lgpl-lr": "LGPLLR",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "pddl": "PDDL-1.0",
    **{
        f"{family.lower()}-{number}": f"{family}-{number}-only"
        for family, numbers in (
            ("AGPL", ("1.0", "3.0")),
            ("GPL", ("1.0", "2.0", "3.0")),
            ("LGPL", ("2.0", "2.1", "3.0")),
            ("GFDL", ("1.1", "1.2", "1.3")),
        )
        for number in numbers
    },
}
_SAYS_NOTHING = frozenset(("unknown", "none"))
_OTHER = "other"  # none of the Hub's list; its name stands beside where it has one


@lru_cache(maxsize=1024)
def spdx_of(license: str | None) -> str | None:
    """`apache-2.0` is `Apache-2.0`; of several, all hold: `MIT AND LicenseRef-llama3`. None where nothing is known.

    What is no license of SPDX's list has a `LicenseRef-` of its name, as SPDX asks.
    """
    names = [part.strip().lower() for part in (license or "").split(",")]
    names = [name for name in names if name and name not in _SAYS_NOTHING]
    if len(names) > 1:
        names = [name for name in names if name != _OTHER]
    return " AND ".join(dict.fromkeys(_id(name) for name in names)) or None


def _id(name: str) -> str:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if name in _HUB_NAMES:
        return _HUB_NAMES[name]
    try:
        if re.fullmatch(r"[a-z0-9.+-]+", name):
            return str(canonicalize_license_expression(name))
    except InvalidLicenseExpression:
        pass
    return "LicenseRef-" + (re.sub(r"[^a-z0-9.]+", "-", name.replace("+", "-plus")).strip("-")[:100] or _OTHER)
