"""Settings of a fine-tune beside each other: what excludes what, and what has no effect."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bedplate_registry.errors import Refused

from .parsing import AUTO

__all__ = ["check_together"]

LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "merge_lora_weights")


def check_together(settings: Any) -> None:
    """Raises Refused where two settings (of a FinetuneSettings) exclude each other, or one has no effect."""
    _check_idle(settings)
    _check_steps(settings)
    if settings.fsdp and settings.deepspeed_stage != "none":
        raise Refused("fsdp and deepspeed_stage both shard the model.", hint="Set one of the two.", code="bad-setting")
    if settings.early_stopping_patience and settings.eval_strategy == "no":
        raise Refused(
            "early_stopping_patience needs evaluations, and eval_strategy is 'no'.",
            hint="Set eval_strategy to epoch or steps.",
            code="bad-setting",
        )
    if not settings.eval_generate_rows and settings.metric_for_best_model not in (AUTO, "loss"):
        raise Refused(
            f"metric_for_best_model is {settings.metric_for_best_model!r}, and with eval_generate_rows 0 no text is "
            "written to measure it on.",
            hint="Set metric_for_best_model to loss, or eval_generate_rows above 0.",
            code="bad-setting",
        )
    if settings.validation_fraction + settings.test_fraction > 0.9:
        raise Refused(
            f"validation_fraction and test_fraction leave less than a tenth of the rows for training "
            f"({settings.validation_fraction:g} + {settings.test_fraction:g}).",
            hint="Make them smaller.",
            code="bad-setting",
        )


def _check_idle(settings: Any) -> None:
    """What would have no effect is refused: it was given for something."""
    usual = {field.name: field.default for field in fields(settings)}
    without_lora = settings.apply_lora is not True
    scheduler = settings.lr_scheduler_type
    adam = ("adam_beta1", "adam_beta2", "adam_epsilon")
    for of, is_idle, why in (
        (LORA, without_lora, "apply_lora is not true"),
        (("load_in_4bit",), without_lora and settings.load_in_4bit is True, "apply_lora is not true"),
        (adam, settings.optim == "adafactor", "the optimizer is adafactor"),
        (("warmup_steps",), scheduler == "constant", "lr_scheduler_type is constant"),
        (("lr_num_cycles",), scheduler != "cosine_with_restarts", f"lr_scheduler_type is {scheduler}"),
        (("early_stopping_threshold",), not settings.early_stopping_patience, "early_stopping_patience is 0"),
        (("length_penalty",), settings.num_beams == 1, "num_beams is 1"),
    ):
        given = [name for name in of if getattr(settings, name) != usual[name]]
        if is_idle and given:
            raise Refused(
                f"The setting {given[0]} has no effect: {why}.",
                hint="Leave it out, or set the other.",
                code="bad-setting",
            )


def _check_steps(settings: Any) -> None:
    for name in ("eval_steps", "warmup_steps"):
        value = getattr(settings, name)
        if value != AUTO and value > 1 and value != int(value):
            raise Refused(
                f"The setting {name} is {value:g}: above 1 it is a number of steps.",
                hint="Give a whole number, or one below 1 for a part of all steps.",
                code="bad-setting",
            )
    least = 1e-7  # where the schedule ends
    rate = settings.learning_rate
    if settings.lr_scheduler_type == "polynomial" and rate != AUTO and rate <= least:
        raise Refused(
            f"learning_rate is {rate:g}, and a polynomial schedule ends at {least:g}.",
            hint="Set a larger learning_rate, or another lr_scheduler_type.",
            code="bad-setting",
        )
