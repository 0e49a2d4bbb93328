"""The kinds of jobs. A new kind is one module here with a `KIND`, and one line in `KINDS`."""

from bedplate.kinds import batch, evaluate, finetune, import_model
from bedplate.kinds.base import Context, Kind

__all__ = ["KINDS", "Context", "Kind"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (import_model.KIND, finetune.KIND, evaluate.KIND, batch.KIND)}
