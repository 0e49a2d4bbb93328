"""A PEFT adapter that comes with its base: merged into it when the model is loaded, so that it costs nothing later.

    FOLDER/config.json, model.safetensors, …        the base
    FOLDER/adapter/adapter_config.json              the adapter, as the registry keeps it; beside the base as PEFT
    FOLDER/adapter/adapter_model.safetensors        writes it is read as well

adapter_config.json is a stranger's file and PEFT obeys it: some settings import a module by name, some rewrite the base
before the adapter is laid over it. So only LoRA is taken, and of its settings those below. The base that it names is
never fetched: the base is what is in the folder. PEFT matches names of modules by the regular expressions that it finds
there: only plain ones are taken, since others can be made to run for years.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.safe_json import read_json

__all__ = ["Adapter", "base_of", "find_adapter"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # of every name in the weights
MAX_RANK = 4096

# Names, dots, wildcards, numbers of layers, and choices of names that are not themselves repeated.
PLAIN = re.compile(r"(?:[\w-]|\\\.|\\d\+|\.[*+]?|\((?:\?:)?(?:[\w|-]|\\\.)*\)(?![*+?{]))*", re.ASCII)
CHOICE = re.compile(r"\((?:\?:)?([^)]*)\)")
MAX_REPEATS = MAX_CHOICES = 3  # in one pattern: each multiplies the ways in which a name may be read


def _plain(pattern: str) -> str:
    choices = [choice.split("|") for choice in CHOICE.findall(pattern)]
    is_short = pattern.count("*") + pattern.count("+") <= MAX_REPEATS and len(choices) <= MAX_CHOICES
    if not (PLAIN.fullmatch(pattern) and is_short and all(len(set(names)) == len(names) for names in choices)):
        raise ValueError("no plain pattern")
    return pattern


Pattern = Annotated[str, Field(max_length=1000), AfterValidator(_plain)]
Names = list[Pattern]
Rank = Annotated[int, Field(ge=1, le=MAX_RANK)]


class LoraSettings(BaseModel):
    """The settings of a LoRA that say where it lies and how it is scaled. Others must be empty, or be of no weight."""

    model_config = ConfigDict(extra="allow", strict=True)

    r: Rank = 8
    lora_alpha: float = 8
    target_modules: Names | Pattern | None = None
    exclude_modules: Names | Pattern | None = None
    target_parameters: Names | None = None
    modules_to_save: Names | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: Names | Pattern | None = None
    rank_pattern: dict[Pattern, Rank] = {}
    alpha_pattern: dict[Pattern, float] = {}
    bias: Literal["none", "all", "lora_only"] = "none"
    fan_in_fan_out: bool = False
    lora_bias: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    # As it was when the training began. Other ways than these change the base's own weights.
    init_lora_weights: bool | Literal["gaussian", "eva", "orthogonal"] = True


# What PEFT notes beside the settings; nothing here reads it.
NOTES = frozenset(
    (
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "megatron_core", "peft_type"),
        *("peft_version", "qalora_group_size", "revision", "task_type", "runtime_config"),
    )
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """The adapter of a model folder. `settings` are those of a LoraConfig."""

    weights: Path
    settings: Mapping[str, Any]

    def whole(self) -> frozenset[str]:
        """The names of the weights that it brings whole, as the base names them: a head, for one."""
        try:
            with safe_open(self.weights, "pt") as file:
                names = [name.removeprefix(PREFIX) for name in file.keys()]  # noqa: SIM118 - it is no mapping
        except (OSError, SafetensorError) as error:
            raise _broken(f"{WEIGHTS} cannot be read") from error
        return frozenset(name for name in names if "lora_" not in name)

    def merged(self, model: Any) -> Any:
        """The base with the adapter merged into it. Raises Refused where the two do not fit each other."""
        from peft import LoraConfig, PeftModel, set_peft_model_state_dict

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
                adapted = PeftModel(model, LoraConfig(**self.settings))
            loaded = set_peft_model_state_dict(adapted, load_file(self.weights))
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _misfit(_shown(error)) from error
        self._check(loaded)
        try:
            return adapted.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise _broken(f"cannot be merged into its base: {_shown(error)}") from error

    def _check(self, loaded: Any) -> None:
        """All of its weights have a place, and all places have weights: a part of random numbers must never answer."""
        if loaded.unexpected_keys:
            raise _misfit(f"the base has no place for {_some(loaded.unexpected_keys)}")
        own = [name for name in loaded.missing_keys if "lora_" in name or "modules_to_save" in name]
        if own:
            raise _misfit(f"its weights lack {_some(own)}")


def find_adapter(folder: Path) -> Adapter | None:
    """The adapter in a model folder, its settings checked. Raises Refused: bad-adapter."""
    home = next((home for home in (folder / "adapter", folder) if (home / CONFIG).is_file()), None)
    if home is None:
        return None
    raw = read_json(home / CONFIG, CONFIG)
    if not isinstance(raw, dict):
        raise _broken(f"{CONFIG} is not an object")
    if not (home / WEIGHTS).is_file():
        raise _broken(f"has no {WEIGHTS}")
    return Adapter(home / WEIGHTS, _settings(raw))


def _settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise _broken(f"is of the type {str(kind)[:40]!r}; only LORA is taken")
    try:
        read = LoraSettings.model_validate({name: value for name, value in raw.items() if value is not None})
    except ValidationError as error:
        name = ".".join(str(part) for part in error.errors()[0]["loc"][:1])
        raise _broken(f"has the setting {name} = {str(raw.get(name))[:80]}, which is not taken") from error
    unknown = sorted(name for name, value in (read.model_extra or {}).items() if value and name not in NOTES)
    if unknown:
        raise _broken(f"has the setting {unknown[0][:80]!r}, which is not taken")
    return read.model_dump(include=set(LoraSettings.model_fields), exclude={"init_lora_weights"}, exclude_none=True)


@contextmanager
def base_of(folder: Path) -> Iterator[Path]:
    """The folder to load the base from. Where an adapter lies beside it, a view without: transformers would load it."""
    if not (folder / CONFIG).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="bedplate-base-") as view:
        for path in folder.iterdir():
            if path.name not in (CONFIG, WEIGHTS):
                (Path(view) / path.name).symlink_to(path.resolve())
        yield Path(view)


def _misfit(why: str) -> BedplateError:
    return Refused(
        f"The model's adapter does not fit its base: {why}.",
        hint="Put the adapter beside the base it was trained on: adapter_config.json names it.",
        code="bad-adapter",
    )


def _broken(what: str) -> BedplateError:
    return Refused(
        f"The model's adapter {what}.",
        hint="Merge it into its base where it was trained (merge_and_unload), and import the result.",
        code="bad-adapter",
    )


def _shown(error: BaseException) -> str:
    """The line of a library's error that says most: torch heads a list of misfits with the name of a class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (next((line for line in lines if "mismatch" in line), lines[0] if lines else type(error).__name__))[
        :300
    ].rstrip(".")


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
