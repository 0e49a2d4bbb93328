"""Settings: what is taken, what is refused and how, and what `auto` comes to."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, fields
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_trainers.parsing import of_task
from bedplate_trainers.setting_names import RENAMED, UNSUPPORTED
from bedplate_trainers.settings import EvaluateSettings, FinetuneSettings, resolve


@dataclass(frozen=True)
class Facts:
    parameters: int
    model_type: str | None = "bert"
    context_length: int | None = 512


def refusal(**values: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        FinetuneSettings.from_mapping(values)
    return caught.value


def test_settings_module_imports_no_torch_and_no_sklearn() -> None:
    code = (
        "import sys, bedplate_trainers.settings, bedplate_trainers.labels, bedplate_trainers.data,"
        " bedplate_trainers.splits, bedplate_trainers.launch, bedplate_trainers.finetune, bedplate_trainers.evaluation;"
        "print([m for m in ('torch', 'transformers', 'sklearn', 'pandas', 'datasets', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_numbers_written_as_text_are_read_as_numbers() -> None:
    settings = FinetuneSettings.from_mapping({"learning_rate": "3e-5", "num_train_epochs": "2", "seed": "7"})
    assert (settings.learning_rate, settings.num_train_epochs, settings.seed) == (3e-5, 2.0, 7)


def test_an_unknown_setting_is_refused_with_the_nearest() -> None:
    problem = refusal(learning_rat=1e-3)
    assert "'learning_rat'" in problem.message
    assert "learning_rate" in problem.hint


@pytest.mark.parametrize("name", sorted(RENAMED))
def test_a_renamed_setting_is_refused_with_its_name_here(name: str) -> None:
    problem = refusal(**{name: 1})
    assert problem.code == "renamed-setting"
    assert RENAMED[name].split()[0].split("=")[0] in {field.name for field in fields(FinetuneSettings)}


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_a_setting_that_is_not_supported_is_refused_with_the_reason(name: str) -> None:
    problem = refusal(**{name: "true"})
    assert problem.code == "unsupported-setting"
    assert UNSUPPORTED[name] in problem.hint
    assert name not in {field.name for field in fields(FinetuneSettings)}


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("learning_rate", -1, "a number from"),
        ("learning_rate", "fast", "or auto"),
        ("learning_rate", True, "a number from"),
        ("learning_rate", float("nan"), "a number from"),
        ("num_train_epochs", 0, "a number from"),
        ("per_device_train_batch_size", 1.5, "a whole number"),
        ("max_steps", 0, "or -1"),
        ("optim", "sgd", "adamw_torch"),
        ("lr_scheduler_type", "step", "linear"),
        ("enable_full_determinism", "perhaps", "true or false"),
        ("class_names", ["a", "a"], "without a double"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_accepted(name: str, value: Any, accepted: str) -> None:
    problem = refusal(**{name: value})
    assert name in problem.message
    assert repr(value) in problem.message
    assert accepted in problem.message


def test_a_bare_no_of_yaml_is_the_eval_strategy_no() -> None:
    assert FinetuneSettings.from_mapping({"eval_strategy": False}).eval_strategy == "no"


def test_a_metric_of_another_program_is_refused_with_its_name_here() -> None:
    assert "matthews_correlation" in refusal(metric_for_best_model="mcc").hint
    assert "f1_score_macro" in refusal(metric_for_best_model="f1_macro").hint
    assert FinetuneSettings.from_mapping({"metric_for_best_model": "loss"}).metric_for_best_model == "loss"


def test_settings_that_contradict_each_other_are_refused() -> None:
    assert "eval_strategy" in refusal(early_stopping_patience=2, eval_strategy="no").message
    assert "0.5 + 0.5" in refusal(validation_fraction=0.5, test_fraction=0.5).message


def test_an_unknown_metric_of_an_evaluation_is_refused() -> None:
    with pytest.raises(Refused, match="'accurracy'") as caught:
        EvaluateSettings.from_mapping({"metrics": ["accurracy"]})
    assert "'accuracy'" in caught.value.hint


@pytest.mark.parametrize(
    ("parameters", "model_type", "rows", "labels", "rate", "epochs"),
    [
        (4_400_000, "bert", 3257, 4, 5e-4, 10),
        (4_400_000, "bert", 4500, 3, 5e-4, 8),
        (4_400_000, "bert", 10_003, 77, 1e-3, 15),
        (22_700_000, "bert", 9003, 77, 3e-4, 4),
        (66_000_000, "distilbert", 9003, 77, 5e-5, 3),
        (110_000_000, "bert", 9003, 77, 3e-5, 3),
        (335_000_000, "bert", 9003, 77, 2e-5, 3),
        (11_700_000, "albert", 9003, 77, 2e-5, 4),
    ],
)
def test_smaller_models_get_larger_rates_and_more_epochs(
    parameters: int, model_type: str, rows: int, labels: int, rate: float, epochs: int
) -> None:
    resolved = resolve(FinetuneSettings(), Facts(parameters, model_type), rows, "cpu", labels=labels).settings
    assert (resolved.learning_rate, resolved.num_train_epochs) == (rate, epochs)


def test_nothing_stays_automatic_on_a_cpu_and_every_choice_has_a_reason() -> None:
    resolved = resolve(FinetuneSettings(), Facts(22_700_000), 1000, "cpu")
    assert "auto" not in resolved.to_json()["values"].values()
    known = of_task(FinetuneSettings, "text-classification").items()
    assert set(resolved.reasons) == {name for name, field in known if field.default == "auto"}
    assert all(resolved.reasons.values())


@pytest.mark.parametrize(
    ("task", "model_type", "parameters", "rate", "metric", "ngram"),
    [
        ("summarization", "t5", 60_000_000, 3e-4, "rougeL", 3),
        ("summarization", "bart", 400_000_000, 3e-5, "rougeL", 3),
        ("summarization", "bert", 110_000_000, 3e-5, "rougeL", 3),
        ("translation", "marian", 75_000_000, 5e-5, "bleu", 0),
        ("translation", "marian", 3_000_000, 5e-4, "bleu", 0),
    ],
)
def test_a_writing_model_has_lengths_of_its_own_and_rates_of_its_family(
    task: str, model_type: str, parameters: int, rate: float, metric: str, ngram: int
) -> None:
    facts = Facts(parameters, model_type)
    resolved = resolve(FinetuneSettings(), facts, 1000, "cpu", task=task, target_tokens=37)
    values = resolved.to_json()["values"]
    assert (values["learning_rate"], values["metric_for_best_model"]) == (rate, metric)
    assert (values["max_source_length"], values["max_target_length"]) == (512, 40)
    assert values["no_repeat_ngram_size"] == ngram
    assert "max_seq_length" not in values
    assert "ignore_mismatched_sizes" not in values
    assert "99 of 100" in resolved.reasons["max_target_length"]


def test_a_prefix_is_taken_as_it_is_and_may_be_empty() -> None:
    for prefix in ("summarize: ", ""):
        settings = FinetuneSettings.from_mapping({"source_prefix": prefix}, "summarization")
        again = FinetuneSettings.from_mapping(settings.to_json("summarization"), "summarization")
        assert again.source_prefix == prefix
    with pytest.raises(Refused, match="in quotes"):  # YAML reads `summarize: ` so
        FinetuneSettings.from_mapping({"source_prefix": {"summarize": None}}, "summarization")


def test_a_metric_of_texts_needs_texts_to_be_written() -> None:
    with pytest.raises(Refused, match="no text is written"):
        FinetuneSettings.from_mapping({"eval_generate_rows": 0, "metric_for_best_model": "rouge1"}, "summarization")
    alone = FinetuneSettings.from_mapping({"eval_generate_rows": 0}, "summarization")
    resolved = resolve(alone, Facts(60_000_000, "t5"), 1000, "cpu", task="summarization").settings
    assert resolved.metric_for_best_model == "loss"


def test_what_is_given_is_kept() -> None:
    given = FinetuneSettings.from_mapping({"learning_rate": 1e-4, "num_train_epochs": 2})
    resolved = resolve(given, Facts(22_700_000), 1000, "cpu")
    assert resolved.settings.learning_rate == 1e-4
    assert "learning_rate" not in resolved.reasons


def test_long_epochs_get_checkpoints_between_evaluations() -> None:
    short = resolve(FinetuneSettings(), Facts(22_700_000), 3200, "cpu").settings
    long = resolve(FinetuneSettings(), Facts(22_700_000), 32_000, "cpu").settings
    assert (short.save_steps, long.save_steps) == (0, 250)


def test_more_tokens_than_the_model_has_positions_are_refused_with_both_numbers() -> None:
    given = FinetuneSettings.from_mapping({"max_seq_length": 600})
    with pytest.raises(Refused, match="max_seq_length is 600, and the model takes at most 512 tokens") as caught:
        resolve(given, Facts(22_700_000), 1000, "cpu")
    assert caught.value.code == "bad-setting"


def test_as_many_tokens_as_the_model_has_positions_are_taken() -> None:
    given = FinetuneSettings.from_mapping({"max_seq_length": 512})
    assert resolve(given, Facts(22_700_000), 1000, "cpu").settings.max_seq_length == 512
    unknown = Facts(22_700_000, context_length=None)
    assert resolve(FinetuneSettings(max_seq_length=600), unknown, 1000, "cpu").settings.max_seq_length == 600


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"optim": "adafactor", "adam_beta1": 0.8}, "adam_beta1 has no effect: the optimizer is adafactor"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 10}, "warmup_steps has no effect"),
        ({"lr_num_cycles": 3}, "lr_num_cycles has no effect: lr_scheduler_type is linear"),
        ({"early_stopping_threshold": 0.1}, "early_stopping_threshold has no effect"),
        ({"eval_strategy": "steps", "eval_steps": 1.5}, "eval_steps is 1.5: above 1 it is a number of steps"),
        ({"warmup_steps": 1.5}, "warmup_steps is 1.5"),
        ({"lr_scheduler_type": "polynomial", "learning_rate": 5e-8}, "a polynomial schedule ends at 1e-07"),
        ({"seed": "9" * 400}, "seed"),
        ({"seed": 10**400}, "seed"),
    ],
)
def test_what_would_have_no_effect_or_end_in_the_middle_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        FinetuneSettings.from_mapping(values)
