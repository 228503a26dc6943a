"""A bad .csv ends in one line that names its first bad cell; a good one is read number by number."""

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attnlab.errors import InputError, MemoryRefused
from attnlab.files.csv_files import read_csv

ROOM = 10**9


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        (b"1,2\r\n3,4", [[1, 2], [3, 4]]),
        (b"1,2\r3,4\r\n\r\n \n", [[1, 2], [3, 4]]),
        (b" +1 ,\t-.5e-3,1.,1E2\n", [[1, -0.0005, 1, 100]]),
        (b"nan,inf,-Infinity\n", [[np.nan, np.inf, -np.inf]]),
        (b"1\n2\n", [[1], [2]]),
        (b"1e-400,5e-324", [[0, 5e-324]]),
    ],
)
def test_numbers_are_read(tmp_path: Path, content: bytes, rows: list[list[float]]) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    table = read_csv(tmp_path / "x.csv", max_bytes=ROOM)
    np.testing.assert_array_equal(table.values, np.array(rows, float), strict=True)
    assert table.names == ()


NAMED = {
    "header": ("a,b\n1,2\n3,4\n", [[1, 2], [3, 4]], ()),
    "header of one": ("x\n1\n2\n", [[1], [2]], ()),
    "header in quotes": ('"a","b"\n1,2\n', [[1, 2]], ()),
    "names": ("the,1,2\nbank,3,4\n", [[1, 2], [3, 4]], ("the", "bank")),
    "header and names": ("token,x,y\nthe,1,2\nbank,3,4\n", [[1, 2], [3, 4]], ("the", "bank")),
    "pandas": (",0,1\nthe,1,2\nbank,3,4\n", [[1, 2], [3, 4]], ("the", "bank")),
    "pandas without names": (",0,1\n0,1,2\n1,3,4\n", [[1, 2], [3, 4]], ("0", "1")),
    "R": ('"","V1","V2"\n"the",1,2\n"bank",3,4\n', [[1, 2], [3, 4]], ("the", "bank")),
    "quotes": ('"a,b",1\n"c""d",2\n"",3\n', [[1], [2], [3]], ("a,b", 'c"d', "")),
    "marks": (",,1\n".replace(",,", '",",') + "the,2\n\",3\n", [[1], [2], [3]], (",", "the", '"')),
    "blanks": (" the,1\nbank ,2\n", [[1], [2]], (" the", "bank ")),
    "numbers and names": ("a,1\n1914,2\nb,3\nc,4\nnan,5\n", [[1], [2], [3], [4], [5]], ("a", "1914", "b", "c", "nan")),
    "mark": ("\ufeff1,2\n", [[1, 2]], ()),
    "mark before a name": ("\ufeffthe,2\n", [[2]], ("the",)),
    "line ends": ("a,b\r\n1,2\r\n\r\n", [[1, 2]], ()),
    "semicolons": ("1;2\n3;4\n", [[1, 2], [3, 4]], ()),
    "semicolons and points": ("0.1;2\n3;.4e1\n", [[0.1, 2], [3, 4]], ()),
    "decimal commas": ("0,1;0,2\n-3;,4E-1\n", [[0.1, 0.2], [-3, 0.04]], ()),
    "all of it": ("\ufefftoken;x;y\r\no;0,1;2\r\n\"ri;o\";3;4,5\r\n", [[0.1, 2], [3, 4.5]], ("o", "ri;o")),
    "a semicolon for a name": (";,0.1,0.2\nthe,1,2\na,3,4\n", [[0.1, 0.2], [1, 2], [3, 4]], (";", "the", "a")),
    "points in names": ("U.S.;0,1\nbank;1,5\n", [[0.1], [1.5]], ("U.S.", "bank")),
    "column names that are numbers are data": ("0,1\n2,3\n", [[0, 1], [2, 3]], ()),
    "row names that are numbers are data": ("101,1\n102,3\n", [[101, 1], [102, 3]], ()),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_names_of_columns_and_rows_are_no_numbers(tmp_path: Path, case: str) -> None:
    content, rows, names = NAMED[case]
    (tmp_path / "x.csv").write_bytes(content.encode())
    table = read_csv(tmp_path / "x.csv", max_bytes=ROOM)
    np.testing.assert_array_equal(table.values, np.array(rows, float), strict=True)
    assert table.names == names


BAD_CSV = {
    "empty": (b"", "an empty file; expected rows of numbers with commas between them"),
    "blank": (b"\n\n", "an empty file"),
    "header alone": (b"a,b\n", "row 1, column 2: 'b': expected a number"),
    "header of words and numbers": (b"a,2,c\n1,2,3\n4,5,6\n", "row 1, column 1: 'a': expected a number"),
    "header with a gap": (b"a,,c\n1,2,3\n", "row 1, column 1: 'a': expected a number"),
    "short header": (b"x,y\nthe,1,2\nbank,3,4\n", "row 1, column 2: 'y': expected a number"),
    "below a header": (b"a,b\n1,2\n3,x\n", "row 3, column 2: 'x': expected a number"),
    "beside names": (b"the,1,2\nbank,3,x\n", "row 2, column 3: 'x': expected a number"),
    "few beside names": (b"the,1,2\nbank,3\n", "row 2, column 3: 2 cells; expected 3, as in row 1"),
    "none beside a name": (b"the,1\nbank\nof,3\n", "row 2, column 2: 1 cells; expected 2, as in row 1"),
    "nothing beside a name": (b"the,1\nbank,\nof,3\n", "row 2, column 2: '': expected a number"),
    "no name": (b"the,1\n,2\nbank,3\n", "row 2, column 1: '': expected a name, or \"\" for an empty one"),
    "no name in an empty row": (b"the,1\n\nbank,3\n", "row 2, column 1: '': expected a name"),
    "name of bytes": (b"the,1\n\xe9,2\n", "row 2, column 1: '\\udce9': bytes that are not UTF-8"),
    "name with a nul": (b"the,1\na\0,2\n", "row 2, column 1: 'a\\x00': a NUL byte"),
    "words by halves": (b"the,1\n7,2\n", "row 1, column 1: 'the': expected a number"),
    "a slip in the first column": (b"1_0,2\n", "row 1, column 1: '1_0': expected a number"),
    "overflow beside names": (b"the,1e400\n", "row 1, column 2: '1e400': too large"),
    "both signs": (b"1,5;2\n3;0.5\n", "row 2, column 2: '0.5': expected a decimal comma, as before it"),
    "both signs at once": (b"1.234,5;2\n", "row 1, column 1: '1.234,5': expected a number"),
    "two commas": (b"1,2,3;4\n", "row 1, column 1: '1,2,3': expected a number"),
    "comment": (b"# x\n1,2\n", "row 1, column 1: '# x': expected a number"),
    "ragged": (b"1,2,3\n4,5,6\n7\n", "row 3, column 2: 1 cells; expected 3, as in row 1"),
    "too wide": (b"1,2\n3,4,5\n", "row 2, column 3: 3 cells; expected 2, as in row 1"),
    "semicolons": (b"1,2\n3;4\n", "row 2, column 1: '3;4': expected commas between the numbers, not semicolons"),
    "blanks": (b"1 2\n", "row 1, column 1: '1 2': expected commas between the numbers, not blanks"),
    "tabs": (b"1\t-2\n", r"row 1, column 1: '1\t-2': expected commas between the numbers, not blanks"),
    "mark": (b"1,2\n\xef\xbb\xbf3,4\n", "row 2, column 1: '\\ufeff3': expected a number"),
    "quotes": (b'1,"2"\n', "row 1, column 2: '\"2\"': expected a number without quotes"),
    "hexadecimal": (b"1,2\n3,0x1F\n", "row 2, column 2: '0x1F': expected a decimal number, not a hexadecimal one"),
    "overflow": (b"1,inf\n3,-1e400\n", "row 2, column 2: '-1e400': too large; expected a number that float64 can hold"),
    "nul": (b"1,2\x00\n", r"row 1, column 2: '2\x00': a NUL byte"),
    "latin-1": (b"1,2\n3,\xe9\n", r"row 2, column 2: '\udce9': bytes that are not UTF-8"),
    "utf-16": ("1,2\n".encode("utf-16"), "row 1, column 1: '\\udcff\\udcfe1\\x00': bytes that are not UTF-8"),
    "empty cell": (b"1,,3\n", "row 1, column 2: '': expected a number (nan where there is none)"),
    "last comma": (b"1,2,\n", "row 1, column 3: '': expected a number"),
    "empty row": (b"1,2\n\n3,4\n", "row 2, column 1: '': expected a number"),
    "empty row of one": (b"1\n\n3\n", "row 2, column 1: '': expected a number"),
    "underscore": (b"1_000,2\n", "row 1, column 1: '1_000': expected a number"),
    "other digits": ("1,\u0662\n".encode(), "row 1, column 2: '\u0662': expected a number"),
    "long text": (b"x" * 1000, "row 1, column 1: '" + "x" * 40 + "…': expected a number"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path: Path, case: str) -> None:
    content, words = BAD_CSV[case]
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"x.csv: {words}")) as caught:
        read_csv(tmp_path / "x.csv", max_bytes=ROOM)
    assert caught.value.exit_code == 3
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"\xff,b\n1,2\n", b",b\xff\nx,2\n", b"a,b\0\n1,2\n"])
def test_a_column_s_name_that_is_no_text_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.csv: row 1, column \d: .*(bytes that are not UTF-8|a NUL byte)"):
        read_csv(tmp_path / "x.csv", max_bytes=ROOM)


def test_a_file_that_may_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,2\n")
    assert read_csv(tmp_path / "x.csv", max_bytes=96).values.shape == (1, 2)
    with pytest.raises(MemoryRefused, match="96 bytes to read; expected at most 95, set by --max-memory") as caught:
        read_csv(tmp_path / "x.csv", max_bytes=95)
    assert caught.value.exit_code == 4


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(content=b"\x80\n0")
@example(content=b",a\xff\nx,1")
@given(content=st.text("0123456789+-.,;enaift \t\r\n\0\"'x_é\u2028\x0b\x1c").map(str.encode) | st.binary())
def test_whatever_is_read_is_what_python_reads(tmp_path: Path, content: bytes) -> None:
    """Every cell of an accepted file is a number for Python too, and each row of the file is a row of the array."""
    (tmp_path / "x.csv").write_bytes(content)
    try:
        x, names = read_csv(tmp_path / "x.csv", max_bytes=ROOM)
    except InputError:
        return
    rows = re.split("\r\n|\r|\n", content.decode("utf-8-sig").rstrip())
    assert len(rows) - len(x) in (0, 1)
    assert len(names) in (0, len(x))
    expected = [numbers_of(row, x.shape[1]) for row in rows[len(rows) - len(x) :]]
    np.testing.assert_array_equal(x, np.array(expected), strict=True)
    if len(rows) == len(x) and not names and ";" not in rows[0]:
        np.testing.assert_array_equal(x, [[float(cell.strip()) for cell in row.split(",")] for row in rows])


def numbers_of(row: str, count: int) -> list[float]:
    """The last so many cells of a row, with commas or semicolons between them, as Python reads them."""
    with suppress(ValueError):
        cells = [float(cell.strip().replace(",", ".")) for cell in row.split(";")[-count:]]
        if len(cells) == count and (count > 1 or ";" in row or "," not in row):
            return cells
    return [float(cell.strip()) for cell in row.split(",")[-count:]]
