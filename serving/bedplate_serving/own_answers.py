"""What the gateway answers itself: which models there are, and that it is a server of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping

from bedplate_serving.model_list import model_card, model_list
from bedplate_serving.problems import Problem
from bedplate_serving.routes import Key, Routes
from bedplate_serving.scoring_paths import Dialect, ScoringPath
from bedplate_serving.v2_server import ALIVE, READY, SERVER

__all__ = ["own_answer"]

FIXED: Mapping[Dialect, bytes] = {"v2-server": SERVER, "v2-live": ALIVE, "v2-ready": READY}


def own_answer(routes: Routes, path: ScoringPath, key: Key | None) -> bytes:
    """JSON. Raises a Problem for a path that is none, and for a model that `key` may not see."""
    found = path.found
    if found is None:
        raise path.no_route
    if found.dialect == "models":
        return model_list(_models(routes, key))
    if found.dialect == "model":
        return _model(routes, key, found.model or "")
    return FIXED[found.dialect]


def _models(routes: Routes, key: Key | None) -> list[str]:
    """Endpoints that write texts: the others are no models to OpenAI's client. None is this machine's user."""
    return sorted(
        name
        for name, endpoint in routes.endpoints.items()
        if endpoint.task == "text-generation" and (key is None or key.may_score(name))
    )


def _model(routes: Routes, key: Key | None, name: str) -> bytes:
    if name not in _models(routes, key):
        detail = f"There is no endpoint {name[:100]!r} for text generation."
        raise Problem(404, "no-endpoint", detail, "GET /v1/models lists them.")
    return model_card(name)
