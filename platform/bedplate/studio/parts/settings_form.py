"""A form of all settings of a task: searched, in groups, with the default of each and why `auto` is what it is.

It is made from the fields of the dataclass, so a new setting shows up by itself. Only what differs from its default
is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.setting_field import SettingField
from bedplate_registry.errors import BedplateError, Refused
from bedplate_trainers.parsing import of_task

__all__ = ["SettingsForm"]

BASIC = "Basic"
REST = "More"
ABOUT_SETTINGS = ("bad-setting", "setting-needs", "unknown-setting", "unsupported-setting", "renamed-setting")
# Where a setting stands. One that is named nowhere stands in the last group.
GROUPS: Mapping[str, tuple[str, ...]] = {
    BASIC: (
        *("num_train_epochs", "learning_rate", "per_device_train_batch_size", "apply_lora"),
        *("source_lang", "target_lang", "metric_for_best_model", "early_stopping_patience", "seed", "metrics"),
    ),
    "Optimizer and schedule": (
        *("max_steps", "gradient_accumulation_steps", "optim", "lr_scheduler_type", "lr_num_cycles", "warmup_steps"),
        *(
            "weight_decay",
            "max_grad_norm",
            "label_smoothing_factor",
            "class_weights",
            "adam_beta1",
            "adam_beta2",
            "adam_epsilon",
        ),
    ),
    "Adapter (LoRA)": (
        *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "merge_lora_weights", "load_in_4bit"),
    ),
    "Texts and labels": (
        *("max_seq_length", "doc_stride", "max_source_length", "max_target_length", "source_prefix", "num_beams"),
        *("length_penalty", "no_repeat_ngram_size", "max_answer_length", "n_best_size", "class_names"),
        "ignore_mismatched_sizes",
    ),
    "Split": ("validation_fraction", "test_fraction", "split_seed"),
    "Evaluation and checkpoints": (
        *("eval_strategy", "eval_steps", "eval_generate_rows", "per_device_eval_batch_size", "save_steps"),
        *("save_total_limit", "logging_steps", "early_stopping_threshold"),
    ),
    "Precision, memory and speed": (
        *("precision", "tf32", "activation_checkpointing", "torch_compile", "attn_implementation", "fsdp"),
        *("deepspeed_stage", "enable_full_determinism"),
    ),
}


class SettingsForm:
    """The settings of the dataclass `kind` that `task` has, made where it stands.

    `given` are the values to begin with, `left_out` those that are asked for elsewhere; `on_change` is called after
    each change. What somebody writes is put into `written`, {name: text} of a draft, right or wrong; what is there
    already stands before `given`.
    """

    def __init__(
        self,
        kind: type[Any],
        task: str,
        given: Mapping[str, Any],
        written: dict[str, Any],
        *,
        on_change: Callable[[], None] = lambda: None,
        left_out: Collection[str] = (),
    ) -> None:
        self._on_change, self._written = on_change, written
        self._groups: list[_Group] = []
        self._search = ui.input(placeholder="Search the settings", on_change=self._show)
        self._search.props('aria-label="Search the settings" debounce=200 dense outlined clearable').classes(
            "bp-search"
        )
        known = {name: field for name, field in of_task(kind, task).items() if name not in left_out}
        self._fields: dict[str, SettingField] = {}
        for title, names in _grouped(known).items():
            group = _Group(title)
            with group.box:
                for name in names:
                    made = SettingField(kind, known[name], task, given.get(name), partial(self._changed, name))
                    if name in written:
                        made.write(written[name])
                    self._fields[name] = made
                    group.fields.append(made)
            group.count()
            self._groups.append(group)
        self._none = ui.label("No setting is called so.").classes("bp-hint")
        self._show()

    @property
    def given(self) -> dict[str, Any]:
        """What differs from its default. Raises Refused for the first that may not be so."""
        found = {name: field.value for name, field in self._fields.items()}
        return {name: value for name, value in found.items() if value is not None}

    def explain(self, forecast: Mapping[str, Any]) -> None:
        """Show what each will be: the forecast of a plan, with its `values` and `reasons`."""
        for name, field in self._fields.items():
            field.explain(forecast["values"].get(name), forecast["reasons"].get(name))

    def refuse(self, error: BedplateError) -> bool:
        """Say a refusal at the setting that it names, which is then in sight. False where it names none."""
        name = next((word for word in re.findall(r"\w+", error.message) if word in self._fields), None)
        if name is None or not isinstance(error, Refused) or error.code not in ABOUT_SETTINGS:
            return False
        self._search.value = ""
        self._fields[name].refuse(error)
        for group in self._groups:
            if self._fields[name] in group.fields:
                group.open(True)
        self._fields[name].row.run_method("scrollIntoView", {"block": "center"})
        return True

    def _changed(self, name: str) -> None:
        self._written[name] = self._fields[name].written
        for group in self._groups:
            group.count()
        self._on_change()

    def _show(self) -> None:
        words = (self._search.value or "").lower().split()
        found = [group.show(words) for group in self._groups]
        self._none.set_visibility(not any(found))


class _Group:
    """Settings that belong together. The basic ones are always open."""

    def __init__(self, title: str) -> None:
        self.fields: list[SettingField] = []
        self._title = title
        self.box = html.details().classes("bp-group")
        with self.box, html.summary():
            ui.label(title).classes("bp-strong")
            self._count = ui.label().classes("bp-hint")
        self.open(title == BASIC)

    def open(self, is_open: bool) -> None:
        if is_open:
            self.box.props["open"] = True
        else:
            self.box.props.pop("open", None)

    def show(self, words: list[str]) -> bool:
        """Only those that a search finds, which opens the group. Whether there are any."""
        shown = [field.matches(words) for field in self.fields]
        for field, is_shown in zip(self.fields, shown, strict=True):
            field.row.set_visibility(is_shown)
        self.box.set_visibility(any(shown))
        self.open(bool(words) or self._title == BASIC)
        return any(shown)

    def count(self) -> None:
        """How many are in it, and how many of them are not as usual."""
        number, changed = len(self.fields), sum(field.is_given for field in self.fields)
        counted = f"{number} setting{'' if number == 1 else 's'}"
        self._count.text = f"{counted}, {changed} changed" if changed else counted


def _grouped(known: Collection[str]) -> dict[str, list[str]]:
    placed = {name for names in GROUPS.values() for name in names}
    groups = {title: [name for name in names if name in known] for title, names in GROUPS.items()}
    groups[REST] = [name for name in known if name not in placed]
    return {title: names for title, names in groups.items() if names}
