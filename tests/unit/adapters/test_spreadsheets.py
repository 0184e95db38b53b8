import csv
import io
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from resource import getpagesize
from tempfile import TemporaryFile
from xml.etree import ElementTree as ET

import pytest
from uuid_utils.compat import uuid7

from adapters.spreadsheets import csv_chunks, write_xlsx

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("https://example.com")']
HARMLESS = ["Ada", "a=b", "O'Hara", 'Müller; "quoted",\nnext line', "名前", ""]
NAMES = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def read_csv(chunks):
    return list(csv.reader(io.StringIO(b"".join(chunks).decode(), newline="")))


def read_xlsx(file):
    """Return the cells of the sheet as (type, text), row by row, and whether any is a formula or a link."""
    with zipfile.ZipFile(file) as parts:
        sheet = ET.fromstring(parts.read("xl/worksheets/sheet1.xml"))
    rows = [
        [(cell.get("t"), "".join(cell.itertext())) for cell in row.iterfind("m:c", NAMES)]
        for row in sheet.iterfind(".//m:row", NAMES)
    ]
    return rows, bool(sheet.findall(".//m:f", NAMES) + sheet.findall(".//m:hyperlink", NAMES))


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


def test_csv_has_a_header_and_every_row_of_every_batch():
    rows = read_csv(csv_chunks(["a", "b"], [[(1, "x"), (2, "y")], [(3, "z")], []]))
    assert rows == [["a", "b"], ["1", "x"], ["2", "y"], ["3", "z"]]


def test_an_empty_list_has_its_header_still():
    assert b"".join(csv_chunks(["a", "b"], [[]])) == b"a,b\r\n"


def test_values_are_written_for_programs():
    number = uuid7()
    moment = datetime(2027, 6, 1, 12, 0, 5, 999_999, tzinfo=timezone(timedelta(hours=2)))
    _, row = read_csv(csv_chunks(["x"], [[(None, True, False, -5, number, moment)]]))
    assert row == ["", "true", "false", "-5", str(number), "2027-06-01T10:00:05Z"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_a_formula_in_csv(text):
    _, (cell,) = read_csv(csv_chunks(["x"], [[(text,)]]))
    assert cell == f"'{text}"


def test_other_texts_stay_as_they_are_in_csv():
    assert [cell for (cell,) in read_csv(csv_chunks(["x"], [[(text,) for text in HARMLESS if text]]))[1:]] == [
        text for text in HARMLESS if text
    ]


def test_a_workbook_has_typed_cells_and_neither_formulas_nor_links():
    row = (None, True, -5, datetime(2027, 6, 1, 10, tzinfo=UTC), *HOSTILE[:4], "https://example.com", HARMLESS[3])
    with TemporaryFile() as file:
        write_xlsx(file, "orders", [f"column {place}" for place in range(len(row))], [[row], [row]])
        rows, is_active = read_xlsx(file)
    header, first, second = rows
    assert [text for _, text in header] == [f"column {place}" for place in range(len(row))]
    assert first == second
    assert first[:2] == [("b", "1"), (None, "-5")]
    assert float(first[2][1]) == pytest.approx(46539 + 10 / 24)
    assert first[3:] == [("inlineStr", text) for text in row[4:]]
    assert not is_active


def test_a_workbook_of_fifty_thousand_rows_takes_no_more_memory_than_one_of_five_thousand():
    sizes = []

    def batches():
        for start in range(0, 50_000, 1_000):
            yield [(start + number, "Ada Lovelace") for number in range(1_000)]
            sizes.append(resident())

    with TemporaryFile() as file:
        write_xlsx(file, "orders", ["number", "name"], batches())
        assert max(sizes[5:]) - sizes[4] < 2_000_000
        assert len(read_xlsx_rows(file)) == 50_001


def read_xlsx_rows(file):
    with zipfile.ZipFile(file) as parts:
        return parts.read("xl/worksheets/sheet1.xml").split(b"<row ")[1:]
