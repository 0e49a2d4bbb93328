"""Paths and answers of REST under their former name."""

from __future__ import annotations

from bedplate.wire import json_of, model_path, url_path

__all__ = ["json_of", "model_path", "url_path"]
