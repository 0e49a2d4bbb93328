"""What a check can find: each code with its severity, a sentence, a remedy, and whether a repair can mend it.

error    training refuses the data, or would learn nonsense from it
warning  training takes it, and what it learns or how it is judged suffers
note     worth knowing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CODES", "ERROR", "NOTE", "SEVERITIES", "WARNING", "Code"]

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Code:
    """One thing that a check can find."""

    severity: str
    sentence: str
    remedy: str
    fixable: bool = False


CODES: Mapping[str, Code] = {
    # the file
    "bad-file": Code(ERROR, "The file cannot be read to its end.", "Write the file again."),
    "no-rows": Code(ERROR, "There are no rows.", "Check the file."),
    "bad-row": Code(ERROR, "Rows cannot be read.", "Correct these rows or take them out.", fixable=True),
    # values
    "missing-value": Code(ERROR, "The value is missing.", "Fill it in, or take the rows out.", fixable=True),
    "empty-value": Code(ERROR, "The value is empty.", "Fill it in, or take the rows out.", fixable=True),
    "wrong-type": Code(ERROR, "The value is of the wrong kind.", "Correct the rows, or map another column."),
    "whitespace": Code(NOTE, "The text begins or ends with blanks.", "Strip them.", fixable=True),
    "control-characters": Code(
        WARNING,
        "The text has control characters or U+FFFD.",
        "Look at how the file was made, and in which encoding.",
    ),
    "lone-surrogate": Code(
        ERROR,
        "The text has half a surrogate pair, which no tokenizer reads.",
        "Look at where the text was cut: a character such as an emoji lost one half.",
    ),
    # inputs
    "mixed-pairs": Code(ERROR, "Some splits have a sentence2 and others none.", "Map it to a column that all have."),
    "duplicate": Code(WARNING, "The row is there before, with the same answer.", "Keep the first one.", fixable=True),
    "conflicting-labels": Code(
        WARNING, "The same input is there before, with another label.", "Decide which label is right."
    ),
    "repeated-input": Code(NOTE, "The same input is there before, with another answer.", "Nothing, if that is meant."),
    "leak": Code(
        WARNING,
        "The same input is in a split that is measured on: figures come out too good.",
        "Take the rows out of this split.",
        fixable=True,
    ),
    # labels
    "too-few-labels": Code(ERROR, "There are fewer than two labels.", "Check which column is mapped to the label."),
    "too-many-labels": Code(
        WARNING, "There are so many labels that no more were counted.", "Check which column is mapped to the label."
    ),
    "mixed-labels": Code(
        ERROR, "Some rows have a list of labels and others a single one.", "Give every row a list, also of one or none."
    ),
    "mixed-label-types": Code(
        WARNING, "Some labels are whole numbers and others are names.", "Spell a label the same way in every row."
    ),
    "label-twins": Code(
        WARNING, "Two labels differ only in blanks or case.", "Spell a label the same way in every row."
    ),
    "unknown-label": Code(ERROR, "The label is not one of the class names.", "Correct it, or add it to them."),
    "unseen-label": Code(
        ERROR, "The label is not in the training data.", "Correct these rows, or add such rows to the training data."
    ),
    "rare-label": Code(WARNING, "A label has very few rows.", "Add rows of it, or join it with another label."),
    "label-imbalance": Code(
        WARNING, "One label has many times the rows of another.", "Judge by a macro average, or add rows."
    ),
    # tags
    "length-mismatch": Code(ERROR, "Two lists differ in length.", "Correct these rows or take them out.", fixable=True),
    "empty-token": Code(WARNING, "A token is empty: its tag is lost.", "Take the token and its tag out."),
    "bad-bio": Code(
        WARNING, "A tag I- follows no B- or I- of its type.", "Begin what is tagged with a tag B-.", fixable=True
    ),
    "unknown-tag": Code(
        WARNING, "A tag is neither O nor PREFIX-TYPE, as the others are.", "Correct it, or spell all of them so."
    ),
    # answers
    "answer-mismatch": Code(
        ERROR, "The answer is in the context, but not at its answer_start.", "Correct answer_start.", fixable=True
    ),
    "answer-not-in-context": Code(
        ERROR, "The answer is not in the context.", "Correct the answer, or take it out.", fixable=True
    ),
    "no-answer": Code(NOTE, "The question has no answer.", "Nothing, if that is meant."),
    # texts that are written
    "summary-longer-than-document": Code(
        WARNING, "The summary is longer than its document.", "Check whether the two columns are swapped."
    ),
    "copy": Code(WARNING, "The target is a copy of the source.", "Take these rows out, unless that is to be learned."),
    "extreme-ratio": Code(
        WARNING, "One text is many times as long as the other.", "Check whether the two belong together."
    ),
    "no-mask": Code(WARNING, "The text has an answer, but no mask token.", "Put the mask token where the answer goes."),
    # images
    "missing-image": Code(ERROR, "There is no such image.", "Add the file, or take the row out."),
    "not-an-image": Code(ERROR, "The file is no image of a known format.", "Save it as PNG, JPEG, WebP, GIF or BMP."),
    # with a model
    "truncated": Code(
        WARNING, "The model reads only the beginning.", "Shorten the texts, or choose a model with a longer context."
    ),
    "windowed": Code(NOTE, "The context is longer than the model reads at once.", "Nothing: it is read in windows."),
}
