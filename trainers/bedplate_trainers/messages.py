"""What crosses into and out of a training or an evaluation worker, as plain JSON. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["AUTO", "DataFile", "EvaluateRequest", "FinetuneRequest", "FinetuneResult", "Held"]

AUTO = "auto"


@dataclass(frozen=True)
class DataFile:
    """A table on disk. The path of a registered dataset has no suffix, so the format is told."""

    path: Path
    format: str
    images: Path | None = None  # the folder that its rows may name images in, for an evaluation
    store: Path | None = None  # into which links of that folder may lead

    def to_json(self) -> dict[str, str]:
        folders = {"images": self.images, "store": self.store}
        given = {name: str(folder) for name, folder in folders.items() if folder is not None}
        return {"path": str(self.path), "format": self.format, **given}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> DataFile:
        folders = {name: Path(value[name]) for name in ("images", "store") if name in value}
        return cls(Path(value["path"]), value["format"], **folders)


Held = DataFile | str | None  # a file, "auto": split off the training rows, or None: do without


@dataclass(frozen=True)
class FinetuneRequest:
    """A fine-tune, resolved enough to run it again."""

    task: str
    model_dir: Path
    train: DataFile
    validation: Held
    test: Held
    columns: dict[str, str]
    settings: dict[str, Any]
    work_dir: Path  # checkpoints
    output_dir: Path  # the final model
    device: str = AUTO  # auto | cpu | cuda
    processes: int = 1
    model_name: str = ""  # what an adapter calls its base
    rows_file: Path | None = None  # where what the model said of each test row is to be written

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FinetuneRequest:
        paths = {name: Path(value[name]) for name in ("model_dir", "work_dir", "output_dir")}
        held = {name: _held(value.get(name)) for name in ("validation", "test")}
        rows_file = Path(value["rows_file"]) if value.get("rows_file") else None
        return cls(**{**value, **paths, **held, "train": DataFile.from_json(value["train"]), "rows_file": rows_file})


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tune came to.

    `metrics` are those of the validation rows, their `loss` among them; `report` is of the test rows, None without any.
    """

    metrics: dict[str, float]
    report: dict[str, Any] | None
    baselines: dict[str, Any]
    labels: tuple[str, ...]
    steps: int
    best_step: int
    epochs: float
    train_rows: int
    validation_rows: int
    test_rows: int
    seconds: float
    samples_per_second: float
    resolved: dict[str, Any]  # settings.Resolved.to_json()
    packages: dict[str, str] = field(default_factory=dict)
    forecast: dict[str, Any] | None = None  # preflight.Forecast.to_json(), where the run was long enough to measure

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"labels": list(self.labels)}


@dataclass(frozen=True)
class EvaluateRequest:
    """An evaluation of one model, or of two on the same rows. A base needs `train`: its probe learns from it.

    In place of a model there may be `predictions` that somebody else made, one for each row of the data.
    """

    task: str
    model_dir: Path | None
    data: DataFile
    columns: dict[str, str]
    against_dir: Path | None = None
    train: DataFile | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = AUTO
    model_derived: Path | None = None  # what was derived of each, as predictors take it
    against_derived: Path | None = None
    predictions: DataFile | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EvaluateRequest:
        folders = ("model_dir", "against_dir", "model_derived", "against_derived")
        parsed = {
            **{name: Path(value[name]) for name in folders if value.get(name)},
            **{name: DataFile.from_json(value[name]) for name in ("data", "train", "predictions") if value.get(name)},
        }
        return cls(**{**value, **parsed})


def _plain(value: Any) -> Any:
    if isinstance(value, DataFile):
        return value.to_json()
    return str(value) if isinstance(value, Path) else value


def _held(value: Any) -> Held:
    return DataFile.from_json(value) if isinstance(value, Mapping) else value
