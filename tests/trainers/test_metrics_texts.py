"""ROUGE, BLEU, chrF and perplexity: against the libraries, against nltk, and against counts by hand."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from nltk.translate.bleu_score import corpus_bleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import get_task
from bedplate_trainers.metrics import summarization, text_generation, translation
from bedplate_trainers.metrics.of_task import signatures_of

ROUGE = get_task("summarization").metrics
BLEUS = get_task("translation").metrics
WORDS = ["the", "running", "runner", "towers", "Ärger", "U.S.", "2,000", "house,", "don't", "東京", "well-kept.\n"]


def random_texts(seed: int, rows: int = 80, least: int = 0) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(least, 14))) for _ in range(rows)]


SAID, RIGHT, OTHER = random_texts(1), random_texts(2), random_texts(3)
SEVERAL = list(zip(RIGHT, OTHER, strict=True))


@pytest.mark.parametrize("tokenizer", ["rouge_stemmer", "rouge"])
def test_rouge_is_the_mean_of_the_librarys(tokenizer: str) -> None:
    scorer = RougeScorer(list(ROUGE), use_stemmer=tokenizer == "rouge_stemmer")
    one_line = [text.replace("\n", " ") for text in SAID], [text.replace("\n", " ") for text in RIGHT]
    for predictions, references in ((SAID, SEVERAL), (SAID, RIGHT), one_line):
        found = summarization.score(summarization.Predictions(predictions, references, tokenizer), ROUGE)
        for name in ROUGE:
            rows = [
                scorer.score_multi([right] if isinstance(right, str) else list(right), said)[name].fmeasure
                for said, right in zip(predictions, references, strict=True)
            ]
            assert found[name] == pytest.approx(sum(rows) / len(rows), abs=1e-12), name


def test_rouge_of_one_row_is_that_counted_by_hand() -> None:
    # 3 of 4 words said are right, of 6; one pair of neighbors of 3 said and 5 right
    predictions = summarization.Predictions(["a cat sat down"], ["a cat was there, it sat"], "rouge")
    found = summarization.score(predictions, ["rouge1", "rouge2", "rougeL"])
    assert found == pytest.approx({"rouge1": 2 * 3 / (4 + 6), "rouge2": 2 * 1 / (3 + 5), "rougeL": 2 * 3 / (4 + 6)})


def test_the_stemmer_is_the_default_and_makes_runs_and_running_one_word() -> None:
    assert summarization.score(summarization.Predictions(["running"], ["runs"]), ["rouge1"]) == {"rouge1": 1.0}
    assert summarization.score(summarization.Predictions(["running"], ["runs"], "rouge"), ["rouge1"]) == {"rouge1": 0.0}


def test_lines_are_sentences_for_rouge_lsum_only() -> None:
    predictions = summarization.Predictions(["second line\nfirst line"], ["first line\nsecond line"])
    found = summarization.score(predictions, ["rougeL", "rougeLsum"])
    assert found == {"rougeL": 0.5, "rougeLsum": 1.0}


def test_a_script_that_rouge_cannot_read_is_refused_and_another_tokenizer_reads_it() -> None:
    said, right = ["東京は雨です。"], ["東京は晴れです。"]
    with pytest.raises(Refused, match="rouge1 cannot be computed") as refused:
        summarization.score(summarization.Predictions(said, right), ["rouge1"])
    assert "'rouge_stemmer'" in refused.value.hint
    found = summarization.score(summarization.Predictions(said, right, "char"), ["rouge1"])
    assert found == {"rouge1": pytest.approx(2 * 5 / (6 + 7))}


def test_identical_texts_score_one_and_an_empty_text_zero() -> None:
    same = summarization.Predictions(["two towers\nhere"], ["two towers\nhere"])
    assert set(summarization.score(same, ROUGE).values()) == {1.0}
    assert set(summarization.score(summarization.Predictions([""], ["two towers"]), ROUGE).values()) == {0.0}


@pytest.mark.parametrize("tokenizer", translation.TOKENIZERS)
@pytest.mark.parametrize("references", [RIGHT, SEVERAL])
def test_bleu_and_chrf_are_sacrebleus_and_their_signatures_too(tokenizer: str, references: list[Any]) -> None:
    streams = [RIGHT] if references is RIGHT else [RIGHT, OTHER]
    bleu, chrf = BLEU(tokenize=tokenizer), CHRF()
    predictions = translation.Predictions(SAID, references, tokenizer)
    assert translation.score(predictions, ["bleu", "chrf"]) == {
        "bleu": pytest.approx(bleu.corpus_score(SAID, streams).score, abs=1e-12),
        "chrf": pytest.approx(chrf.corpus_score(SAID, streams).score, abs=1e-12),
    }
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert signatures_of("translation", predictions) == signatures
    assert f"tok:{tokenizer}" in signatures["bleu"]


def test_bleu_of_orders_is_that_of_nltk_where_there_is_one_reference() -> None:
    # nltk counts a text of fewer words than the order as if it had one more
    tokenize, texts = Tokenizer13a(), (random_texts(4, least=5), random_texts(5, least=5))
    said, right = ([tokenize(text).split() for text in column] for column in texts)
    found = translation.score(translation.Predictions(*texts), BLEUS)
    for order in (1, 2, 3, 4):
        expected = corpus_bleu([[text] for text in right], said, weights=[1 / order] * order)
        assert found[f"bleu_{order}"] == pytest.approx(expected, abs=1e-12)


def test_bleu_of_orders_is_that_counted_by_hand_and_the_shortest_reference_decides_what_is_short() -> None:
    # 3 words said, references of 4 and of 6; 2 of 3 words are right, and 1 of 2 pairs
    predictions = translation.Predictions(["red tower here"], [["the red tower stands", "a red tower or a house"]])
    penalty = math.exp(1 - 4 / 3)
    found = translation.score(predictions, ["bleu_1", "bleu_2", "bleu_3"])
    assert found == pytest.approx(
        {"bleu_1": penalty * 2 / 3, "bleu_2": penalty * math.sqrt(2 / 3 * 1 / 2), "bleu_3": 0}
    )
    # 4 words said; the nearest length is 5, the shortest 1
    predictions = translation.Predictions(["a b c d"], [["a", "a b c d e"]])
    assert translation.score(predictions, ["bleu_1"]) == {"bleu_1": pytest.approx(1.0)}
    assert translation.score(predictions, ["bleu"])["bleu"] == pytest.approx(100 * math.exp(1 - 5 / 4))


def test_rows_may_differ_in_how_many_references_they_have() -> None:
    predictions = translation.Predictions(
        ["a red tower here", "a house"], [["a red tower here"], ["x", "a house", "y"]]
    )
    found = translation.score(predictions, ["bleu", "bleu_4", "chrf"])
    assert found == pytest.approx({"bleu": 100, "bleu_4": 1, "chrf": 100})
    assert "nrefs:var" in signatures_of("translation", predictions)["bleu"]


def test_texts_that_are_all_empty_score_zero() -> None:
    found = translation.score(translation.Predictions(["", ""], ["a red tower", "b"]), BLEUS)
    assert set(found.values()) == {0.0}


def test_references_that_are_all_empty_are_refused_and_one_that_is_not() -> None:
    _, missing = translation.score_what_applies(translation.Predictions(["a", "b"], ["", " "]))
    assert set(missing) == set(BLEUS)
    assert set(missing.values()) == {"The references are empty in all rows."}
    one_empty = translation.Predictions(["a red tower is here", "b"], ["a red tower is here", ""])
    assert 0 < translation.score(one_empty, ["bleu_1"])["bleu_1"] < 1


@pytest.mark.parametrize("module", [summarization, translation])
def test_the_order_of_rows_changes_nothing(module: Any) -> None:
    rows = list(zip(SAID, SEVERAL, strict=True))
    random.Random(0).shuffle(rows)
    found, missing = module.score_what_applies(module.Predictions(SAID, SEVERAL))
    again, _ = module.score_what_applies(module.Predictions(*zip(*rows, strict=True)))
    assert again == pytest.approx(found, abs=1e-12)
    assert not missing


@pytest.mark.parametrize("module", [summarization, translation])
def test_bad_rows_and_tokenizers_are_refused_by_name(module: Any) -> None:
    with pytest.raises(Refused, match="Row 2 has no reference"):
        module.Predictions(["a", "b"], [["a"], []])
    with pytest.raises(Refused, match="Row 1 has a prediction that is no text: 7"):
        module.Predictions([7], ["a"])
    with pytest.raises(Refused, match="2 predictions and 1 references"):
        module.Predictions(["a", "b"], ["a"])
    with pytest.raises(Refused, match="'itnl'") as refused:
        module.Predictions(["a"], ["a"], "itnl")
    assert refused.value.hint == "Did you mean 'intl'?"
    assert module.score_what_applies(module.Predictions([], []))[0] == {}


def test_perplexity_weighs_tokens_not_rows() -> None:
    predictions = text_generation.Predictions(log_likelihoods=[math.log(0.5), 3 * math.log(0.25)], token_counts=[1, 3])
    found, missing = text_generation.score_what_applies(predictions)
    assert found == {"perplexity": pytest.approx((0.5 * 0.25**3) ** (-1 / 4))}
    assert missing["rouge1"] == "No texts were written."
    assert signatures_of("text-generation", predictions) == {}


def test_written_texts_have_the_scores_of_summaries_and_translations() -> None:
    predictions = text_generation.Predictions(SAID, SEVERAL)
    found, missing = text_generation.score_what_applies(predictions)
    expected = {
        **summarization.score(summarization.Predictions(SAID, SEVERAL), ROUGE),
        **translation.score(translation.Predictions(SAID, SEVERAL), BLEUS),
    }
    assert found == {name: expected[name] for name in get_task("text-generation").metrics if name != "perplexity"}
    assert missing == {"perplexity": "The likelihoods of the right texts are not known."}
    assert set(signatures_of("text-generation", predictions)) == {"rouge", "bleu"}


def test_written_texts_of_another_script_have_tokenizers_of_their_own() -> None:
    predictions = text_generation.Predictions(["東京は雨"], ["東京は雪"], rouge_tokenizer="char", bleu_tokenizer="char")
    found = text_generation.score(predictions, ["rouge1", "bleu_1"])
    assert found == pytest.approx({"rouge1": 0.75, "bleu_1": 0.75})
    with pytest.raises(Refused, match="no BLEU tokenizer 'chars'"):
        text_generation.Predictions(["a"], ["a"], bleu_tokenizer="chars")


def test_likelihoods_without_the_number_of_tokens_are_refused() -> None:
    with pytest.raises(Refused, match="There are 2 log-likelihoods and 0 token counts"):
        text_generation.Predictions(log_likelihoods=[-1.0, -2.0])


def test_texts_that_are_all_right_score_no_more_than_everything() -> None:
    texts = ["a red tower is here", "two houses are there now"]
    found = translation.score(translation.Predictions(texts, texts), BLEUS)
    assert found == {name: 100.0 if name in ("bleu", "chrf") else 1.0 for name in BLEUS}


@pytest.mark.parametrize(
    ("likelihoods", "counts", "why"),
    [
        ([-1.0, -math.inf], [1, 1], "Row 2 has the log-likelihood -inf."),
        ([math.nan], [1], "Row 1 has the log-likelihood nan."),
        ([-1e6], [1], "Its value on these rows is inf."),
        ([0.0], [0], "The right texts have no tokens."),
    ],
)
def test_a_perplexity_that_is_no_number_is_refused(likelihoods: list[float], counts: list[int], why: str) -> None:
    predictions = text_generation.Predictions(log_likelihoods=likelihoods, token_counts=counts)
    assert text_generation.score_what_applies(predictions)[1]["perplexity"] == why
