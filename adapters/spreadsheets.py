"""Lists as files for spreadsheet programs, written row by row: CSV as it comes, XLSX by way of the disk.

Texts stay texts: what a program would take for a formula cannot run in either.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import IO, Any

FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")
"""See owasp.org/www-community/attacks/CSV_Injection."""
OPTIONS = {
    "constant_memory": True,
    "default_date_format": "yyyy-mm-dd hh:mm:ss",
    "remove_timezone": True,
}
"""xlsxwriter.readthedocs.io/workbook.html: rows go to the disk, times are shown as such, in UTC."""
Row = Sequence[Any]


def csv_chunks(columns: Sequence[str], batches: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """Yield the names of the columns, then each batch of rows, as CSV in UTF-8 (RFC 4180)."""
    lines = StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow(columns)
    for batch in batches:
        writer.writerows([_csv_cell(value) for value in row] for row in batch)
        yield lines.getvalue().encode()
        lines.seek(0)
        lines.truncate()


def write_xlsx(file: IO[bytes], name: str, columns: Sequence[str], batches: Iterable[Sequence[Row]]) -> None:
    """Write a workbook of one sheet: the names of the columns, then all rows."""
    from xlsxwriter import Workbook  # noqa: PLC0415 12 MB, and few processes write one

    with Workbook(file, OPTIONS) as workbook:
        sheet = workbook.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, columns, workbook.add_format({"bold": True}))
        rows = (row for batch in batches for row in batch)
        for number, row in enumerate(rows, start=1):
            for place, value in enumerate(row):
                _write_xlsx_cell(sheet, number, place, value)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA_BEGINS) else value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return str(value).lower() if isinstance(value, bool) else value


def _write_xlsx_cell(sheet: Any, number: int, place: int, value: Any) -> None:
    if isinstance(value, datetime):
        sheet.write_datetime(number, place, value.astimezone(UTC))
    elif isinstance(value, bool):
        sheet.write_boolean(number, place, value)
    elif isinstance(value, int):
        sheet.write_number(number, place, value)
    elif value is not None:
        # Never `write`, which makes formulas and links of what looks like them.
        sheet.write_string(number, place, str(value))
