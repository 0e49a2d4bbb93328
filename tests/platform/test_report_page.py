"""A report as one HTML file: of every task, with everything or nothing in it, and with texts that strangers wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import pytest

from bedplate.report_metrics import MAIN
from bedplate.report_page import report_page
from bedplate.report_parts import in_label_order
from bedplate_registry.leaderboard import MAIN_METRICS
from rest_server import Rest, rest_server

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'
ALLOWED = {"html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "h3", "p", "div", "small"}
ALLOWED |= {"strong", "mark", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "figure"}
ALLOWED |= {"details", "summary", "figcaption", "wbr", "svg", "g", "line", "path", "circle", "rect", "text"}
METRICS = {"accuracy": 0.75, "f1_score_macro": 0.7}
ENDS = {"accuracy": [0.68, 0.81]}
CLASS = {"label": EVIL, "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 8}


def classified(**more: Any) -> dict[str, Any]:
    """A report on a classifier with all that one may hold, every text of it hostile."""
    row = {"row": 17, EVIL: EVIL, "label": EVIL}
    return {
        "id": "ev-20261124-080000-000000-1a2b3c",
        "created": "2026-11-24T08:00:00+00:00",
        "model": "acme/measured:3",
        "task": "text-classification",
        "kind": "model",
        "data": {"filename": EVIL, "rows": 120, "sha256": "a" * 64, "columns": {"label": EVIL}},
        "metrics": METRICS,
        "confidence": ENDS,
        "not_computed": {"AUC_macro": EVIL},
        "baselines": {"majority": {"accuracy": 0.3333}},
        "against": {"model": "acme/other:1", "metrics": {"accuracy": 0.5}, "confidence": {}, "classes": [CLASS]},
        "difference": {"accuracy": {"value": 0.25, "low": 0.1, "high": 0.4, "p_value": 0.0123}},
        "classes": [CLASS, {**CLASS, "label": "b"}],
        "confusion": {"labels": [EVIL, "b"], "matrix": [[31, 9], [7, 73]]},
        "changed": {
            "fixed": 60,
            "broken": 1,
            "examples": [
                {**row, "before": EVIL, "after": EVIL, "change": "fixed"},
                {**row, "before": EVIL, "after": EVIL, "change": "broken"},
            ],
        },
        "slices": [
            {"by": "length", "value": "1 to 40", "rows": 60, "metrics": METRICS, "confidence": ENDS},
            {"by": EVIL, "value": EVIL, "rows": 6, "metrics": {"accuracy": 0.5}, "confidence": {}},
        ],
        "curves": {
            "precision_recall": [
                {"label": EVIL, "recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.8, None], "average_precision": 0.9}
            ],
            "roc": [{"label": EVIL, "false_positive_rate": [0, 1], "true_positive_rate": [0, 1], "area": 0.5}],
        },
        "calibration": {
            "bins": [
                {"low": 0.0, "high": 0.5, "rows": 0, "confidence": None, "accuracy": None},
                {"low": 0.5, "high": 1.0, "rows": 120, "confidence": 0.9, "accuracy": 0.75},
            ],
            "expected_calibration_error": 0.15,
        },
        "latency": {"rows": 50, "p50_ms": 3.25, "p95_ms": 9.5},
        "worst": [{"row": 17, "text": EVIL, "label": EVIL, "predicted": EVIL, "confidence": 0.97}],
        "settings": {"seed": 42, EVIL: EVIL},
        EVIL: EVIL,
        "fairness": [{EVIL: EVIL}],
        "notes": ["3 answers are not at their answer_start.", EVIL],
        **more,
    }


class Outline(HTMLParser):
    """The elements, their attributes, and the text of a page, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f"{data}\n"


def outline(report: Mapping[str, Any]) -> Outline:
    """Of a page that holds nothing which runs, loads or leads elsewhere."""
    read = Outline(report_page(report))
    assert set(read.tags) <= ALLOWED
    names = {name for name, _ in read.attributes}
    assert not [name for name in names if name.startswith("on") or name in ("href", "src", "action", "xlink:href")]
    assert not [value for name, value in read.attributes if name == "style" and ("url" in value or "<" in value)]
    return read


def test_what_strangers_wrote_is_text_wherever_it_stands() -> None:
    read = outline(classified())
    assert read.tags["script"] == read.tags["img"] == 0
    assert read.text.count(EVIL) > 20


def test_a_report_shows_all_that_it_holds() -> None:
    text = outline(classified()).text
    for shown in (
        *("acme/measured:3: Text classification", "acme/other:1", "a" * 64, "0.7500", "0.6800 to 0.8100", "0.3333"),
        *(
            "0.1000 to 0.4000",
            "p: the probability of a difference this large if both were equally good.",
            "0.0123",
            "60 rows fixed, 1 broken.",
            "(1 of 60)",
            "1 to 40",
            "73",
        ),
        *("half within 3.25 ms, 95 % within 9.5 ms (of 50 rows)", "Expected calibration error: 0.1500"),
        "3 answers are not at their answer_start.",
        *("Fairness", "F1 of acme/other:1", "Wrong rows, the worst first", "Precision over recall", "0.9000"),
    ):
        assert shown in text, shown


def test_charts_have_a_line_for_each_curve_and_a_bar_for_each_bin_with_rows() -> None:
    read = outline(classified())
    paths = [value for name, value in read.attributes if name == "d"]
    assert paths == ["M46.0 10.0 L196.0 70.0", "M46.0 310.0 L346.0 10.0"]
    assert read.tags["rect"] == 1
    labels = [value for name, value in read.attributes if name == "aria-label"]
    assert {"Precision over recall", "ROC curve", "Confusion matrix"} <= set(labels)


@pytest.mark.parametrize("left_out", sorted(classified()))
def test_any_key_may_be_absent(left_out: str) -> None:
    assert outline({name: value for name, value in classified().items() if name != left_out}).tags["h1"] == 1


def test_a_report_with_nothing_but_metrics_is_a_page_too() -> None:
    assert "0.9000" in outline({"model": "a:1", "metrics": {"accuracy": 0.9}}).text


def test_wrong_words_are_marked() -> None:
    wrong = {"row": 4, "tokens": ["see", EVIL, "now"], "tags": ["O", "B-LOC", "O"], "predicted": ["O", "B-PER", "O"]}
    read = outline(classified(task="token-classification", worst=[{**wrong, "wrong_words": 1, "confidence": 0.9}]))
    assert read.tags["mark"] == 1
    assert f"{EVIL} [B-LOC, said: B-PER]" in read.text


def test_answers_and_texts_are_shown_row_by_row() -> None:
    answer = {"row": 3, "question": "Who?", "context": EVIL, "answers": ["she", "her"], "predicted": "he"}
    answer |= {"n_best": [{"answer": "he", "score": 0.75}]}
    text = outline(classified(task="question-answering", worst=[answer])).text
    assert "she, her" in text
    assert "Best answers\nAnswer\nScore\nhe\n0.7500\n" in text
    written = {"row": 1, "document": "long", "summary": "short", "predicted": EVIL, "rougeL": 0.25}
    assert outline(classified(task="summarization", worst=[written])).text.count("short") == 1


def test_several_right_texts_of_a_row_are_told_apart() -> None:
    several = ["A cat, a dog.", "Two animals meet."]
    row = {"row": 1, "document": "long", "summary": several, "predicted": "A cat.", "rougeL": 0.25}
    change = {"row": 2, "document": "long", "target": several, "before": "a", "after": "b", "change": "fixed"}
    changed = {"fixed": 1, "broken": 0, "examples": [change]}
    text = outline(classified(task="summarization", worst=[row], changed=changed)).text
    assert text.count("A cat, a dog. | Two animals meet.") == 2


def test_many_labels_are_told_by_their_confusions_and_several_labels_a_row_each_by_itself() -> None:
    labels = [f"B-{number}" for number in range(40)]
    matrix = [[9 if (right, said) == (3, 4) else 5 * (right == said) for said in range(40)] for right in range(40)]
    read = outline({"metrics": {}, "confusion": {"labels": labels, "matrix": matrix}})
    assert "B-3\nB-4\n9\n" in read.text
    each = {"labels": ["a"], "matrix": [], "per_label": [[[1, 2], [3, 4]]]}
    assert "a\n4\n2\n3\n1\n" in outline({"metrics": {}, "confusion": each}).text


def test_parts_in_shapes_of_tomorrow_are_shown_as_they_are() -> None:
    text = outline({"metrics": {}, "calibration": {"error": 0.0625}, "changed": {"fixed": 3}}).text
    assert "error = 0.0625" in text
    assert "fixed = 3" in text


def test_rows_say_on_a_narrow_page_what_each_cell_is_and_changed_ones_are_folded() -> None:
    read = outline(classified())
    assert Counter(value for name, value in read.attributes if name == "class")["cards"] == 3
    labels = [value for name, value in read.attributes if name == "data-label"]
    assert {"Row", "Text", "Label", "Before", "After", "Predicted", "Confidence"} <= set(labels)
    assert read.tags["summary"] == 2 and "Fixed (1 of 60)\n" in read.text and "Broken (1)\n" in read.text


def test_two_models_confusions_have_their_labels_in_one_order() -> None:
    mine = {"labels": ["b", "a", "c"], "matrix": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}
    other = {"labels": ["a", "b", "c"], "matrix": [[10, 20, 30], [40, 50, 60], [70, 80, 90]]}
    text = outline({"metrics": {}, "confusion": mine, "against": {"model": "o:1", "confusion": other}}).text
    assert "Right label\nb\na\nc\nb\n50\n40\n60\na\n20\n10\n30\nc\n80\n70\n90\n" in text
    each = {"labels": ["a", "b"], "matrix": [], "per_label": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}
    assert in_label_order(each, ["b", "a"]) == {**each, "labels": ["b", "a"], "per_label": each["per_label"][::-1]}


@pytest.mark.parametrize("labels", [["a", "d"], ["a"], ["a", "a"], []])
def test_confusions_of_other_labels_stay_as_they_are(labels: list[str]) -> None:
    other = {"labels": ["a", "b"], "matrix": [[1, 2], [3, 4]]}
    assert in_label_order(other, labels) == other
    assert in_label_order({"labels": ["a", "b"], "matrix": [[1]]}, ["b", "a"])["labels"] == ["a", "b"]


def test_numbers_stand_below_headings_on_their_side_and_p_has_a_column() -> None:
    page = report_page(classified())
    table = page.partition('aria-label="Metrics"')[2].partition("</table>")[0]
    for heading in ("This model", "acme/other:1", "Difference", "p", "Without a model: majority"):
        assert f'<th scope="col"><div class="n">{heading}</div></th>' in table
    assert '<td class="n">0.0123</td>' in table
    assert "<small>0.1000 to 0.4000</small></td>" in table
    assert '<th scope="col"><div class="n">Support</div></th>' in page and '<th scope="col">Label</th>' in page


def test_the_page_says_how_the_intervals_were_made_that_it_has() -> None:
    shares = "In small letters: the 95 % interval, of shares of rows by Wilson; of all else by bootstrap over rows."
    assert shares in outline(classified()).text
    ranked = outline(classified(confidence={**ENDS, "AUC_macro": [0.6, 0.9]})).text
    assert "of AUC, average precision and log_loss by the infinitesimal jackknife; of all else" in ranked
    assert "small letters" not in outline(classified(confidence={})).text


def test_a_list_of_answers_is_a_table_and_a_long_one_is_folded() -> None:
    answers = [{"answer": EVIL, "score": 0.5 / (1 + at)} for at in range(20)]
    few, many = (outline(classified(changed=None, worst=[{"row": 1, "n_best": answers[:n]}])) for n in (2, 20))
    assert many.tags["details"] == 1 and "20 of them" in many.text
    assert few.tags["details"] == 0 and f"Answer\nScore\n{EVIL}\n0.5000\n" in few.text


def test_a_model_that_is_held_against_none_has_no_column_p() -> None:
    assert "p: the probability" not in outline(classified(against=None)).text


def test_empty_settings_and_curves_of_nothing_are_left_out() -> None:
    settings = {"seed": 0, "class_names": [], "metrics": (), "positive_label": None, "slices": ""}
    text = outline(classified(settings=settings, curves={"precision_recall": [], "roc": []}, left_out={})).text
    assert "Settings\nseed = 0\n" in text
    assert "Curves" not in text and "roc" not in text
    assert "Settings" not in outline(classified(settings={"metrics": []})).text


def test_metrics_that_were_not_computed_for_one_reason_share_a_sentence() -> None:
    why = "There is one class only."
    missing = {"AUC_macro": why, "log_loss": "There are no probabilities.", "AUC_micro": why}
    text = outline(classified(not_computed=missing)).text
    assert "AUC_macro, AUC_micro were not computed: There is one class only." in text
    assert "log_loss was not computed: There are no probabilities." in text


def test_labels_that_are_none_and_texts_that_are_empty_say_so() -> None:
    none = {"row": 1, "sentence1": "see", "label": ["a"], "before": [], "after": ["a"], "change": "fixed"}
    changed = {"fixed": 1, "broken": 0, "examples": [none]}
    rows = [
        {"row": 2, "text": "go", "label": [], "predicted": ["b"]},
        {"row": 3, "text": "", "label": "a", "rank": None},
    ]
    text = outline({"metrics": {}, "changed": changed, "worst": rows}).text
    assert "see\na\n(none)\na\n" in text
    assert "Label\n(none)\nPredicted\nb\n" in text and "Text\n(none)\n" in text
    assert "Rank" not in text


def test_what_a_row_is_made_of_has_one_name_where_it_is_wrong_and_where_it_changed() -> None:
    pair = {"row": 1, "sentence1": "see", "sentence2": "go", "label": "a", "before": "b", "after": "a"}
    changed = {"fixed": 1, "broken": 0, "examples": [{**pair, "change": "fixed"}]}
    worst = [{"row": 2, "text": "see", "text_pair": "go", "label": "a", "predicted": "b"}]
    text = outline({"metrics": {}, "changed": changed, "worst": worst}).text
    assert text.count("Row\nText\nSecond text\nLabel\n") == 2


@pytest.mark.parametrize("task", ["summarization", "translation", "text-generation"])
def test_written_texts_are_neither_right_nor_wrong(task: str) -> None:
    worst = [{"row": 1, "predicted": "short", "rougeL": 0.25}]
    text = outline(classified(task=task, worst=worst, against={"model": "o:1", "worst": worst})).text
    assert "Lowest-scoring rows\n" in text and "Lowest-scoring rows of o:1\n" in text
    assert "Wrong rows" not in text


def test_a_part_of_a_long_row_says_which_words_it_is() -> None:
    words = {"tokens": ["see", "Rome"], "tags": ["O", "B-LOC"], "predicted": ["O", "O"], "wrong_words": 1}
    text = outline(classified(worst=[{"row": 4, "first_word": 12, "words": 300, **words}])).text
    assert "… see" in text and "Words 13 to 14 of 300, Wrong words 1" in text
    whole = outline(classified(worst=[{"row": 4, "first_word": 0, "words": 2, **words}])).text
    assert "Wrong words 1\n" in whole and "Words 1" not in whole


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as started:
        yield started


def test_the_page_is_served_with_rules_that_let_nothing_run_or_load(rest: Rest) -> None:
    id = rest.workspace.registry.evaluations.add(classified())
    answer = rest.call("GET", f"/api/v1/evaluations/{id}/page", user="ana")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "sandbox" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "acme/measured:3" in Outline(answer.text).text
    assert rest.call("GET", "/api/v1/evaluations/ev-none/page").status_code == 404
    assert rest.client.get(f"/api/v1/evaluations/{id}/page").status_code == 401


def test_the_first_of_the_main_metrics_is_the_one_that_sorts_leaderboards() -> None:
    assert {task: names[0] for task, names in MAIN.items()} == MAIN_METRICS
