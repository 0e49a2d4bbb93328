"""Fine-tuning: a request in, a trained model folder and its figures out. Run in a process that `launch` started.

Each task has its recipe, one file under recipes/; this module chooses it. Importing it imports no torch.
"""

from __future__ import annotations

from importlib import import_module

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT, Reporter
from bedplate_registry.tasks import get_task
from bedplate_serving.out_of_sight import uncollected

from .launch import check_world, rank
from .messages import DataFile, FinetuneRequest, FinetuneResult
from .recipes import RECIPES

__all__ = ["DataFile", "FinetuneRequest", "FinetuneResult", "finetune"]


def finetune(request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    """Trains, tests and saves. Only the first of several processes reports and returns a result; the others give None.

    With `resume` it goes on from the last complete checkpoint in `work_dir`, if there is one.
    """
    task = get_task(request.task).name
    if task not in RECIPES:
        raise Refused(
            f"{task} cannot be fine-tuned by this release.",
            hint=f"It fine-tunes: {', '.join(RECIPES)}.",
            code="no-recipe",
        )
    check_world(request.processes)
    with uncollected():  # torch comes with these
        from .again import run_until_it_fits

        recipe = import_module(f".recipes.{RECIPES[task]}", __package__)
    return run_until_it_fits(recipe.run, request, reporter if rank() == 0 else SILENT, resume=resume)
