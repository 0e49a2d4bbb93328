"""The nine tasks."""

from __future__ import annotations

from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import TASKS, contradicts, finetunable_tasks, get_task, task_of


def test_there_are_nine_and_five_can_be_fine_tuned() -> None:
    assert len(TASKS) == 9
    assert [name for name, task in TASKS.items() if task.finetunable] == [
        *("text-classification", "token-classification", "question-answering", "summarization", "translation")
    ]


@pytest.mark.parametrize(
    ("architecture", "model_type", "tag", "task"),
    [
        ("BertModel", "bert", "sentence-similarity", None),
        ("BertModel", "bert", "text-classification", None),
        ("BertModel", "bert", None, None),
        (None, None, "fill-mask", None),
        ("BertForSequenceClassification", "bert", "sentence-similarity", "text-classification"),
        ("BertForSequenceClassification", "bert", "zero-shot-classification", "text-classification"),
        ("XLMRobertaForSequenceClassification", "xlm-roberta", "text-ranking", "text-classification"),
        ("BertForMaskedLM", "bert", "text-classification", "fill-mask"),
        ("BertForTokenClassification", "bert", "token-classification", "token-classification"),
        ("DistilBertForQuestionAnswering", "distilbert", None, "question-answering"),
        ("BartForConditionalGeneration", "bart", "summarization", "summarization"),
        ("T5ForConditionalGeneration", "t5", "translation", "translation"),
        ("T5ForConditionalGeneration", "t5", "text2text-generation", "summarization"),
        ("MarianMTModel", "marian", None, "translation"),
        ("M2M100ForConditionalGeneration", "m2m_100", "text2text-generation", "translation"),
        ("GPT2LMHeadModel", "gpt2", "text-generation", "text-generation"),
        ("LlamaForCausalLM", "llama", None, "text-generation"),
        ("ViTForImageClassification", "vit", None, "image-classification"),
        ("Wav2Vec2ForCTC", "wav2vec2", "automatic-speech-recognition", None),
    ],
)
def test_the_task_follows_from_tag_and_architecture(
    architecture: str | None, model_type: str | None, tag: str | None, task: str | None
) -> None:
    config: dict[str, Any] = {"model_type": model_type} | ({"architectures": [architecture]} if architecture else {})
    assert task_of(config, tag) == task


@pytest.mark.parametrize(
    ("architecture", "tag", "task"),
    [
        ("BertForSequenceClassification", "summarization", "text-classification"),
        ("BertForMaskedLM", "text-classification", "fill-mask"),
        ("MarianMTModel", "fill-mask", "translation"),
        ("LlamaForCausalLM", "translation", "text-generation"),
        ("BertForSequenceClassification", "zero-shot-classification", None),
        ("BertForSequenceClassification", "sentence-similarity", None),
        ("Qwen3ForCausalLM", "text-ranking", None),
        ("GPT2LMHeadModel", "conversational", None),
        ("GPT2LMHeadModel", "text2text-generation", None),
        ("T5ForConditionalGeneration", "translation", None),
        ("T5ForConditionalGeneration", "text-generation", None),
        ("BertForPreTraining", "fill-mask", None),
        ("ElectraForPreTraining", "text-classification", None),
        ("BertModel", "text-classification", None),
        ("BertForMaskedLM", None, None),
        (None, "fill-mask", None),
    ],
)
def test_a_tag_of_one_of_the_nine_tasks_may_contradict_the_architecture(
    architecture: str | None, tag: str | None, task: str | None
) -> None:
    model_type = "marian" if architecture == "MarianMTModel" else "bert"
    config: dict[str, Any] = {"model_type": model_type} | ({"architectures": [architecture]} if architecture else {})
    assert contradicts(tag, config) == task


def test_encoders_translators_and_decoders_can_be_fine_tuned() -> None:
    assert "text-classification" in finetunable_tasks("bert") and "question-answering" in finetunable_tasks(
        "modernbert"
    )
    assert finetunable_tasks("t5") == ("summarization", "translation")
    assert finetunable_tasks("llama") == ("text-classification", "token-classification")
    assert finetunable_tasks("gpt2") == finetunable_tasks("bert")
    assert finetunable_tasks("wav2vec2") == finetunable_tasks(None) == ()


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        get_task("object-detection")
    assert caught.value.code == "unknown-task" and "text-classification" in caught.value.hint
