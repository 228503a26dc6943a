"""A bad .csv ends in one line that names its first bad cell; a good one is read number by number."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
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
    np.testing.assert_array_equal(read_csv(tmp_path / "x.csv", max_bytes=ROOM), np.array(rows, float), strict=True)


BAD_CSV = {
    "empty": (b"", "an empty file; expected rows of numbers with commas between them"),
    "blank": (b"\n\n", "an empty file"),
    "header": (b"a,b\n1,2\n", "row 1, column 1: 'a': expected a number; a header row, if this is one, must go"),
    "comment": (b"# x\n1,2\n", "row 1, column 1: '# x': expected a number"),
    "ragged": (b"1,2,3\n4,5,6\n7\n", "row 3, column 2: 1 cells; expected 3, as in row 1"),
    "too wide": (b"1,2\n3,4,5\n", "row 2, column 3: 3 cells; expected 2, as in row 1"),
    "semicolons": (b"1;2\n3;4\n", "row 1, column 1: '1;2': expected commas between the numbers, not semicolons"),
    "blanks": (b"1 2\n", "row 1, column 1: '1 2': expected commas between the numbers, not blanks"),
    "tabs": (b"1\t-2\n", r"row 1, column 1: '1\t-2': expected commas between the numbers, not blanks"),
    "mark": (b"\xef\xbb\xbf1,2\n", "row 1, column 1: '\\ufeff1': begins with a byte-order mark"),
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


def test_a_file_that_may_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,2\n")
    assert read_csv(tmp_path / "x.csv", max_bytes=96).shape == (1, 2)
    with pytest.raises(MemoryRefused, match="96 bytes to read; expected at most 95, set by --max-memory") as caught:
        read_csv(tmp_path / "x.csv", max_bytes=95)
    assert caught.value.exit_code == 4


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(content=st.text("0123456789+-.,;enaift \t\r\n\0\"'x_é\u2028\x0b\x1c").map(str.encode) | st.binary())
def test_whatever_is_read_is_what_python_reads(tmp_path: Path, content: bytes) -> None:
    """Every cell of an accepted file is a number for Python too, and each row of the file is a row of the array."""
    (tmp_path / "x.csv").write_bytes(content)
    try:
        x = read_csv(tmp_path / "x.csv", max_bytes=ROOM)
    except InputError:
        return
    rows = re.split("\r\n|\r|\n", content.decode().rstrip())
    expected = [[float(cell.strip()) for cell in row.split(",")] for row in rows]
    np.testing.assert_array_equal(x, np.array(expected), strict=True)
