"""What a wizard keeps and what it lets go when somebody goes back and chooses another model, or other rows."""

from __future__ import annotations

from bedplate.studio.pages import batch_new
from bedplate.studio.pages.import_model import BLANK, forget_others


def test_a_license_that_was_accepted_for_one_model_is_not_accepted_for_another() -> None:
    draft = {**BLANK, "model_id": "acme/one"}
    forget_others(draft)
    draft |= {"accept_license": True, "convert_weights": True, "base": "acme/base:1", "name": "mine"}
    forget_others(draft)
    assert (draft["accept_license"], draft["base"]) == (True, "acme/base:1")
    for other in ({"model_id": "acme/two"}, {"revision": "v2"}, {"hub": "http://other.example"}):
        changed = {**draft, **other}
        forget_others(changed)
        assert [changed[name] for name in ("accept_license", "convert_weights", "base")] == [None, None, None]
        assert changed["name"] == "mine"


def test_an_emptied_field_is_the_same_as_one_that_was_never_filled_in() -> None:
    draft = {**BLANK, "model_id": "acme/one"}
    forget_others(draft)
    draft |= {"accept_license": True, "revision": ""}
    forget_others(draft)
    assert draft["accept_license"]


def test_the_name_of_scored_rows_goes_with_the_rows_unless_it_was_chosen() -> None:
    draft = batch_new.blank("acme/support:1", "team/tickets:2")
    batch_new.fill_output(draft)
    assert draft["output"] == "tickets-scored.csv"
    draft["input"] = "letters:1"
    batch_new.fill_output(draft)
    assert draft["output"] == "letters-scored.csv"
    draft |= {"output": "mine.jsonl", "is_proposed": False, "input": "tickets:1"}
    batch_new.fill_output(draft)
    assert draft["output"] == "mine.jsonl"
