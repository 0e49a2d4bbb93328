"""The kinds of jobs. A new kind is one module here with a `KIND`, and one line in `KINDS`."""

from bedplate.kinds import batch, data_check, evaluate, finetune, graph, import_model, sweep
from bedplate.kinds.base import Context, Kind

__all__ = ["KINDS", "Context", "Kind"]

KINDS: dict[str, Kind] = {
    module.KIND.name: module.KIND for module in (import_model, data_check, finetune, evaluate, batch, sweep, graph)
}
