"""Rows in and rows out."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import tables
from bedplate_registry.errors import Refused
from bedplate_registry.tables import FORMATS, BadRow, columns_of, count_rows, format_of, open_writer, read_rows

ROWS: list[dict[str, Any]] = [
    {"text": "card lost", "label": "card", "n": 1},
    {"text": 'he said "no",\r\nthen\nleft\t!', "label": "ü", "n": 2},
    {"text": "", "label": "refund", "n": -3},
]


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_reads_back(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"rows.{format}"
    with open_writer(path, format, ["text", "label", "n"]) as writer:
        for row in ROWS:
            writer.write(row)
    as_text = [{**row, "n": str(row["n"])} for row in ROWS] if format in ("csv", "tsv") else ROWS
    assert list(read_rows(path, format_of(path.name))) == as_text
    assert columns_of(path, format) == ["text", "label", "n"]
    assert count_rows(path, format) == 3


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.txt", "rows.jsonl.gz"])
def test_a_suffix_that_is_no_table_is_named_with_the_accepted_ones(name: str) -> None:
    with pytest.raises(Refused) as caught:
        format_of(name)
    assert caught.value.code == "bad-format" and ".jsonl" in caught.value.hint and ".parquet" in caught.value.hint


def test_csv_with_crlf_quoted_newlines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", b'\xef\xbb\xbftext,label\r\n"two\r\nlines",a\r\n\r\n"say ""yes""",b\r\n')
    assert list(read_rows(path, "csv")) == [
        {"text": "two\r\nlines", "label": "a"},
        {"text": 'say "yes"', "label": "b"},
    ]
    assert columns_of(path, "csv") == ["text", "label"] and count_rows(path, "csv") == 2


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("a,b\n1,2\n1\n", "Row 2 has 1 cells where the header has 2"),
        ("a,b\n1,2,3\n", "Row 1 has 3 cells"),
        ('a,b\n1,2\n3,"open\n', "Row 2"),
        ('a,b\n1,2\n"x"y,2\n', "Row 2"),
        (b"a,b\n1,\xff\xfe\n", "UTF-8"),
        ("", "no header"),
        ("a,,b\n1,2,3\n", "without a name"),
        ("a,b,a\n1,2,3\n", "'a' twice"),
        ("text;label\nhello, you;greet\n", "separated by ';'.* first line is 'text;label'"),
        (b'\xef\xbb\xbf"text";"label"\r\n"hello";"greet"\r\n', "separated by ';'"),
        ("sep=;\ntext;label\nhello;greet\n", "separated by ';'"),
        ("text\tlabel\nhello\tgreet\n", "separated by tabs"),
    ],
)
def test_a_csv_file_that_is_wrong_is_refused_by_row(tmp_path: Path, data: bytes | str, what: str) -> None:
    with pytest.raises(Refused, match=what) as caught:
        list(read_rows(put(tmp_path / "x.csv", data), "csv"))
    assert caught.value.hint


def test_a_semicolon_or_a_tab_separates_nothing_beside_commas_in_rows_or_in_a_tsv(tmp_path: Path) -> None:
    assert columns_of(put(tmp_path / "x.csv", 'a;b,"c\td"\n1,2\n'), "csv") == ["a;b", "c\td"]
    assert [*read_rows(put(tmp_path / "x.csv", "text\none; two\tthree\n"), "csv")] == [{"text": "one; two\tthree"}]
    assert columns_of(put(tmp_path / "x.tsv", "a;b\n1\n"), "tsv") == ["a;b"]
    with pytest.raises(Refused, match="separated by ';'"):
        columns_of(put(tmp_path / "x.csv", "text;label\nhello;greet\n"), "csv")


def test_a_stray_quote_spoils_its_own_row_alone_where_bad_rows_are_kept(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", 'a,b\n1,2\n"abc" def,1\n\n3,4\n5\n"x\ny" z,1\n6,7\n"open,8\n')
    rows = list(read_rows(path, "csv", keep_bad=True))
    assert [row.reason.partition(":")[0] if isinstance(row, BadRow) else row for row in rows] == [
        {"a": "1", "b": "2"},
        "Row 2 (line 3) cannot be read",
        {"a": "3", "b": "4"},
        "Row 4 has 1 cells where the header has 2.",
        "Row 5 (lines 7 to 8) cannot be read",
        {"a": "6", "b": "7"},
        "Row 7 (line 10) cannot be read",
    ]
    assert count_rows(path, "csv") == 7
    with pytest.raises(Refused, match=r"Row 2 \(line 3\)"):
        list(read_rows(path, "csv"))


@pytest.mark.parametrize("data", ['a,b\n1,2\n"open,3\n4,5\n6,7\n', '"a" b,c\n1,2\n'])
def test_a_quote_that_swallows_rows_or_the_header_is_refused_all_the_same(tmp_path: Path, data: str) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        list(read_rows(put(tmp_path / "x.csv", data), "csv", keep_bad=True))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ('{"a": 1}\n{"a": \n', "Row 2 is not JSON"),
        ('{"a": 1}\n[1]\n', "Row 2 is a list, not an object"),
        ("3\n", "Row 1 is a number"),
        ("[" * 100_000 + "\n", "Row 1 is not JSON"),
        (b'{"a": "\xff"}\n', "Row 1 is not JSON"),
    ],
)
def test_a_jsonl_file_that_is_wrong_is_refused_by_row(tmp_path: Path, data: bytes | str, what: str) -> None:
    with pytest.raises(Refused, match=what):
        list(read_rows(put(tmp_path / "x.jsonl", data), "jsonl"))


def test_jsonl_takes_what_python_writes(tmp_path: Path) -> None:
    big = 12345678901234567890123
    path = put(tmp_path / "x.jsonl", f'\ufeff{{"a": NaN}}\n\n{{"a": {big}}}\r\n{{"a": "x\u2028y"}}')
    rows = list(read_rows(path, "jsonl"))
    assert rows[0]["a"] != rows[0]["a"] and rows[1:] == [{"a": big}, {"a": "x\u2028y"}]
    assert count_rows(path, "jsonl") == 3


@pytest.mark.parametrize(
    ("data", "what"), [('{"a": 1}', "not a list"), ("[1]", "Row 1 is a number"), ("[", "not JSON")]
)
def test_a_json_file_is_a_list_of_objects(tmp_path: Path, data: str, what: str) -> None:
    with pytest.raises(Refused, match=what):
        list(read_rows(put(tmp_path / "x.json", data), "json"))


def test_columns_of_jsonl_are_those_of_all_the_rows_looked_at(tmp_path: Path) -> None:
    assert columns_of(put(tmp_path / "x.jsonl", '{"a": 1}\n{"b": 1, "a": 2}\n'), "jsonl") == ["a", "b"]


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for call in (columns_of, count_rows, lambda path, format: list(read_rows(path, format))):
        with pytest.raises(Refused) as caught:
            call(put(tmp_path / "x.parquet", b"PAR1 nonsense"), "parquet")
        assert caught.value.code == "bad-table"


def test_csv_neutralizes_formulas_but_no_numbers(tmp_path: Path) -> None:
    texts = ["=1+1", "-2+3", "@x", "+cmd", "\tx", "\rx", "-1.5", "-1e-7", "+1", "-", "a=b", "5"]
    with open_writer(tmp_path / "x.csv", "csv", ["=head", "n"]) as writer:
        for text in texts:
            writer.write({"=head": text, "n": -1.5})
    with (tmp_path / "x.csv").open(newline="") as file:
        header, *cells = list(csv.reader(file))
    assert header == ["'=head", "n"]
    assert [cell for cell, _ in cells] == [
        *("'=1+1", "'-2+3", "'@x", "'+cmd", "'\tx", "'\rx", "-1.5", "-1e-7", "+1", "'-", "a=b", "5")
    ]
    assert {number for _, number in cells} == {"-1.5"}


def test_lists_in_csv_are_json_and_nothing_is_empty(tmp_path: Path) -> None:
    with open_writer(tmp_path / "x.tsv", "tsv", ["a", "b", "c"]) as writer:
        writer.write({"a": ["x", "ü"], "b": None, "c": True})
    assert list(read_rows(tmp_path / "x.tsv", "tsv")) == [{"a": '["x","ü"]', "b": "", "c": "true"}]


def test_a_key_that_is_no_column_is_refused(tmp_path: Path) -> None:
    with open_writer(tmp_path / "x.jsonl", "jsonl", ["a"]) as writer, pytest.raises(Refused, match="'b'"):
        writer.write({"b": 1})


def test_parquet_columns_widen_when_later_rows_need_it(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with open_writer(path, "parquet", ["n", "error"]) as writer:
        for number in range(5000):
            writer.write({"n": number, "error": None})
        writer.write({"n": 0.5, "error": "too long"})
    rows = list(read_rows(path, "parquet"))
    assert len(rows) == 5001 and rows[7] == {"n": 7.0, "error": None} and rows[-1] == {"n": 0.5, "error": "too long"}
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]


def test_a_parquet_column_of_mixed_values_is_refused_by_name(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.parquet", "parquet", ["n"])
    for value in (1, "x"):
        writer.write({"n": value})
    with pytest.raises(Refused, match="'n'"):
        writer.__exit__(None, None, None)


ODD: list[dict[str, Any]] = [
    {"n": 1, "half\udc00": "fine", "list": [1.5, None]},
    {"n": 2**70, "half\udc00": "half \ud800 a pair", "list": [float("nan"), -(2**65), date(2026, 1, 2)]},
]


@pytest.mark.parametrize(
    ("format", "odd"),
    [
        ("jsonl", {"n": 2**70, "half\udc00": "half \ud800 a pair", "list": [None, -(2**65), "2026-01-02"]}),
        ("json", {"n": 2**70, "half\udc00": "half \ud800 a pair", "list": [None, -(2**65), "2026-01-02"]}),
        (
            "csv",
            {
                "n": str(2**70),
                "half\\udc00": "half \\ud800 a pair",
                "list": f'[null,{-(2**65)},"2026-01-02"]',
            },
        ),
        (
            "parquet",
            {
                "n": str(2**70),
                "half\\udc00": "half \\ud800 a pair",
                "list": f'[null,{-(2**65)},"2026-01-02"]',
            },
        ),
    ],
)
def test_one_odd_cell_does_not_stop_a_file(tmp_path: Path, format: str, odd: dict[str, Any]) -> None:
    path = tmp_path / f"x.{format}"
    with open_writer(path, format, list(ODD[0])) as writer:
        for row in ODD:
            writer.write(row)
    rows = list(read_rows(path, format))
    assert len(rows) == 2 and rows[1] == odd
    assert json.dumps(rows).count("NaN") == 0


def test_a_parquet_column_becomes_text_from_its_first_row_on_when_a_late_integer_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with open_writer(path, "parquet", ["n"]) as writer:
        for number in [*range(5000), 2**64, *range(5000)]:
            writer.write({"n": number})
    values = [row["n"] for row in read_rows(path, "parquet")]
    assert values == [str(number) for number in [*range(5000), 2**64, *range(5000)]]


def test_an_empty_output_is_a_readable_file(tmp_path: Path) -> None:
    for format in FORMATS:
        with open_writer(tmp_path / f"x.{format}", format, ["a"]):
            pass
        assert list(read_rows(tmp_path / f"x.{format}", format)) == []


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_reading_is_a_stream(tmp_path: Path, format: str) -> None:
    """A file several times larger than the memory that reading it may take."""
    path = tmp_path / f"big.{format}"
    with open_writer(path, format, ["text"]) as writer:
        for number in range(3000):
            writer.write({"text": f"{number} " + "x" * 20_000})
    program = (
        "import resource, sys; from pathlib import Path; from bedplate_registry.tables import *;"
        f"path, format = Path({str(path)!r}), {format!r}; next(read_rows(path, format));"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "n = sum(1 for _ in read_rows(path, format)); columns_of(path, format); count_rows(path, format);"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rows, grown_kib = map(int, done.stdout.split())
    assert rows == 3000
    # Parquet decodes a row group's page at a time; the text formats hold one row.
    assert grown_kib < (200_000 if format == "parquet" else 10_000), json.dumps({format: grown_kib})


SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "text_classification"


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real datasets is not beside the checkout")
@pytest.mark.parametrize(
    ("name", "format", "rows", "classes"),
    [
        ("banking77/train.csv", "csv", 10_003, 77),  # CRLF, and line breaks inside quotes
        ("tweeteval_emotion/train.jsonl", "jsonl", 3_257, 4),
        ("sick_pairs/SICK_train.txt", "tsv", 4_500, 3),
    ],
)
def test_real_files_are_read_whole(name: str, format: str, rows: int, classes: int) -> None:
    path = SHARED / name
    found = list(read_rows(path, format))
    assert len(found) == count_rows(path, format) == rows
    assert len({row[columns_of(path, format)[-1]] for row in found}) == classes


# --- wide cells of Parquet


def small_file_of_long_texts(path: Path, characters: int, rows: int) -> Path:
    """One text in each row, kept once in the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["x" * characters] * rows, "n": range(rows)}), path)
    return path


def test_a_small_parquet_file_of_long_texts_takes_no_memory_for_all_of_its_rows(tmp_path: Path) -> None:
    file = small_file_of_long_texts(tmp_path / "x.parquet", 1 << 20, 256)
    assert file.stat().st_size < 100_000
    program = """
import resource, sys
from pathlib import Path
from bedplate_registry.schemas import describe_rows
from bedplate_registry.tables import read_rows
list(read_rows(Path(sys.argv[2]), "parquet"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows, (text, n) = describe_rows(read_rows(Path(sys.argv[1]), "parquet"))
print(rows, text.max_characters, n.distinct, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    small = small_file_of_long_texts(tmp_path / "small.parquet", 10, 10)
    command = [sys.executable, "-c", program, str(file), str(small)]
    rows, longest, numbers, kilobytes = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    assert (rows, longest, numbers) == ("256", str(1 << 20), "256")
    assert int(kilobytes) < 200_000  # all rows are 262,144, and a second time where they are described


def test_a_cell_of_parquet_is_as_long_as_one_of_csv_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(tables, "MAX_CELL_CHARACTERS", 1000)
    texts = ["short", None, *["é" * 1000] * 40, "é" * 1001]
    for number, column in enumerate((pa.array(texts), pa.array(texts).dictionary_encode())):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"text": column}), path)
        with pytest.raises(Refused, match="Row 43 has 1,001 characters in the column 'text'") as caught:
            [*read_rows(path, "parquet")]
        assert caught.value.code == "bad-row"


def test_rows_of_parquet_come_in_their_order_from_groups_wide_and_narrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(tables, "BATCH_BYTES", 2000)
    monkeypatch.setattr(tables, "WIDE_BYTES", 1000)
    rows = [{"n": n, "text": f"{n}" * (1 if n < 60 else 100)} for n in range(120)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=60)
    assert [*read_rows(tmp_path / "x.parquet", "parquet")] == rows
