"""What something needs of the machine and what it holds, in answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bedplate.api.bodies import Answer

__all__ = ["Demand", "HeldLease", "Lease"]


class Demand(Answer):
    """What it needs to run."""

    cores: int
    memory_bytes: int
    gpus: int
    gpu_memory_bytes: Annotated[int | None, Field(description="Of each card; null: the cards as a whole.")]


class Lease(Answer):
    """What it was given."""

    cores: int
    memory_bytes: int
    gpus: Annotated[list[str], Field(description="The uuids of the cards.")]
    gpu_memory_bytes: int | None


class HeldLease(Lease):
    """What it holds."""

    since: float | None
