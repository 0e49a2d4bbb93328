"""The Hugging Face Hub as a source of models."""

from __future__ import annotations

from .hubaddress import HubAddress, HubFile, HubModel, hub_url, is_commit
from .hubpeek import find_model

__all__ = ["Hub", "HubFile", "HubModel", "hub_url", "is_commit"]


class Hub(HubAddress):
    """One Hub. Making one opens no connection."""

    def resolve(self, model_id: str, revision: str | None = None) -> HubModel:
        """The model at the commit that `revision` (a branch, a tag, a commit; the main branch if none) means now."""
        return find_model(self, model_id, revision, turns=None)[0]  # by jobs, which do nothing else meanwhile
