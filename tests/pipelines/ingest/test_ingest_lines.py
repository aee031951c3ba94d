"""The strict reader: which lines it accepts, which it rejects, and that it never loses one."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.ingest.formats import delimited
from pipelines.ingest.formats.format import into_table, numbered
from pipelines.ingest.formats.records import Dialect

CSV = Dialect(",", '"')


def read(path: Path, dialect: Dialect = CSV) -> tuple[dict[int, list[str]], dict[int, str], int]:
    """Fields of the accepted rows by line, reasons of the rejected ones by line, number of blank lines."""
    with duckdb.connect() as con:
        text = delimited.open_text(path, dialect, names=None, scratch=path.parent)
        result = delimited.load(con, text, into_table("kept"), path.parent)
        relation = numbered(con, "kept", result.shifts, "shifts_of_kept")
        accepted = {line: list(fields) for line, *fields in con.execute(f"from {relation} order by line").fetchall()}
    rejected = result.rejected.to_pylist()
    assert len({row["line"] for row in rejected}) == len(rejected)
    return accepted, {row["line"]: row["reason"] for row in rejected}, result.blank_lines


def written(folder: Path, data: bytes) -> Path:
    path = folder / "events.csv"
    path.write_bytes(data)
    return path


def test_fields_stay_the_text_they_are(tmp_path: Path) -> None:
    accepted, rejected, _ = read(written(tmp_path, b'a,b,c\n0007,NA,null\n 1 ,"x, ""y""",\n"",\\N,1e5\n'))
    assert accepted == {2: ["0007", "NA", "null"], 3: [" 1 ", 'x, "y"', ""], 4: ["", "\\N", "1e5"]}
    assert rejected == {}


def test_an_unclosed_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    rows = [f"u{i},i,1" for i in range(5000)]
    rows[1000] = 'u1000,"i,1'
    rows[4000] = 'u4000,"i,1'
    accepted, rejected, _ = read(written(tmp_path, ("a,b,c\n" + "\n".join(rows) + "\n").encode()))
    assert rejected == {1002: "broken_quote", 4002: "broken_quote"}
    assert len(accepted) == 4998
    assert accepted[5001] == ["u4999", "i", "1"]


def test_a_quoted_field_over_several_lines_is_one_row_at_its_first_line(tmp_path: Path) -> None:
    accepted, rejected, _ = read(written(tmp_path, b'a,b\n1,"x\ny\n\nz"\n2,y\n3\n4,z\n'))
    assert accepted == {2: ["1", "x\ny\n\nz"], 6: ["2", "y"], 8: ["4", "z"]}
    assert rejected == {7: "wrong_field_count"}


def test_blank_lines_are_counted_and_are_no_rows(tmp_path: Path) -> None:
    accepted, rejected, blank = read(written(tmp_path, b"a,b\n\n1,2\n\n\n3,4,5\n6,7\n\n"))
    assert accepted == {3: ["1", "2"], 7: ["6", "7"]}
    assert rejected == {6: "wrong_field_count"}
    assert blank == 4


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [b"", b"end"])
def test_every_kind_of_line_end_is_read(tmp_path: Path, end: bytes, last: bytes) -> None:
    data = end.join([b"a,b", b"1,2", b"bad", b"3,4"]) + (end if last else b"")
    accepted, rejected, _ = read(written(tmp_path, data))
    assert accepted == {2: ["1", "2"], 4: ["3", "4"]}
    assert rejected == {3: "wrong_field_count"}


def test_mixed_line_ends_are_read(tmp_path: Path) -> None:
    accepted, rejected, _ = read(written(tmp_path, b"a,b\r\n1,2\n3\r\n5,6\r\n7,8"))
    assert accepted == {2: ["1", "2"], 4: ["5", "6"], 5: ["7", "8"]}
    assert rejected == {3: "wrong_field_count"}


def test_bytes_that_are_no_utf8_cost_their_line_only(tmp_path: Path) -> None:
    accepted, rejected, _ = read(written(tmp_path, b"a,b\n1,\xff\n\n2,\xc3\xa9\n"))
    assert accepted == {4: ["2", "é"]}
    assert rejected == {2: "invalid_utf8"}


def test_a_record_of_more_than_16_mib_is_rejected(tmp_path: Path) -> None:
    accepted, rejected, _ = read(written(tmp_path, b"a,b\n1," + b"x" * (17 << 20) + b"\n2,y\n"))
    assert accepted == {3: ["2", "y"]}
    assert rejected == {2: "line_too_long"}


def test_without_a_quote_character_quotes_are_text(tmp_path: Path) -> None:
    accepted, rejected, _ = read(written(tmp_path, b'a\tb\n1\t"x\n2\ty"z\n'), Dialect("\t", None))
    assert accepted == {2: ["1", '"x'], 3: ["2", 'y"z']}
    assert rejected == {}


def test_a_delimiter_may_have_two_characters(tmp_path: Path) -> None:
    accepted, rejected, _ = read(written(tmp_path, b"a::b\n1::x:y\n2::y::z\n"), Dialect("::", None))
    assert accepted == {2: ["1", "x:y"]}
    assert rejected == {3: "wrong_field_count"}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff\xfea\x00", "UTF-16"),
        (b"\n\na,b\n1,2\n", "line 1 is ''"),
        (b'"a,b\n1,2\n', "expected the header"),
        (b"a,b,A\n1,2,3\n", "two columns 'a'"),
    ],
)
def test_a_file_without_a_usable_header_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        delimited.open_text(written(tmp_path, data), CSV, names=None, scratch=tmp_path)


def test_the_header_may_be_quoted_behind_a_byte_order_mark(tmp_path: Path) -> None:
    text = delimited.open_text(written(tmp_path, b'\xef\xbb\xbf"a","b ""c""",\n'), CSV, names=None, scratch=tmp_path)
    assert text.columns == ["a", 'b "c"', "column_3"]


# lines of a piece of the file -> what becomes of the record that starts at the first of them (None: not a row)
PIECES: dict[tuple[bytes, ...], str | None] = {
    (b"u,i,1,n",): "accepted",
    (b'u,"i",1,"a ""quoted"" note" ',): "accepted",
    (b'u,i,5" pipe,n',): "accepted",
    (b'u,i,1,"over', b"", b'three, lines"'): "accepted",
    (b"u,i",): "wrong_field_count",
    (b"u,i,1,n,more",): "wrong_field_count",
    (b"   ",): "wrong_field_count",
    (b'u,"i,1,n',): "broken_quote",
    (b'u,"i"x,1,n',): "broken_quote",
    (b"u,\xff,1,n",): "invalid_utf8",
    (b"",): None,
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.sampled_from(list(PIECES)), min_size=1, max_size=12),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=1, max_size=3),
)
@pytest.mark.slow
def test_each_line_is_accepted_rejected_or_blank(
    tmp_path: Path, pieces: list[tuple[bytes, ...]], ends: list[bytes]
) -> None:
    data, expected, line = b"user,item,value,note\n", {}, 2
    for piece in pieces:
        expected[line] = PIECES[piece]
        for part in piece:
            data += part + ends[line % len(ends)]
            line += 1
    accepted, rejected, blank = read(written(tmp_path, data))
    outcome = dict.fromkeys(accepted, "accepted") | rejected
    assert outcome == {n: what for n, what in expected.items() if what is not None}
    assert blank == list(expected.values()).count(None)
    assert not accepted.keys() & rejected.keys()
