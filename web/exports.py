"""Exports as answers: CSV as it is read, XLSX once it is whole. What is in them is in domain/exports.py."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import IO

from flask import Response, request
from sqlalchemy.orm import Session

from adapters.spreadsheets import csv_chunks, write_xlsx
from domain.errors import BusyError
from domain.exports import Export
from web.openapi import describes
from web.services import Services, services

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLSX_ROWS = 100_000
"""About ten seconds of a core, in which nothing is sent yet."""
CHUNK_BYTES = 65_536
RETRY_SECONDS = 5
DISPOSITION = {200: {"Content-Disposition": "A name for the file."}}
as_csv = describes(media_types={200: CSV}, headers=DISPOSITION, problems=("forbidden",))
"""Marks a view that answers CSV."""
as_xlsx = describes(media_types={200: XLSX}, headers=DISPOSITION, problems=("forbidden", "export-too-large"))
"""Marks a view that answers a workbook."""
Begin = Callable[[Session], Export]


def answer_csv(begin: Begin) -> Response:
    """Return what is begun in a transaction as CSV; raise `BusyError` while too many are being made."""
    chunks = _write_csv(services(), begin)
    # The first is written before the answer: a refusal is still an answer of its own. And a generator that has begun
    # gives its seat back whenever it is closed, be it because the client has left.
    return _answer(chain([next(chunks)], chunks), CSV, chunks.close)


def answer_xlsx(begin: Begin) -> Response:
    """Return what is begun in a transaction as a workbook; raise as `answer_csv` does, and if it has too many rows."""
    parts = services()
    file = TemporaryFile()  # noqa: SIM115 the answer closes it
    try:
        with _seat(parts):
            export = _begin(parts, begin)
            write_xlsx(file, export.name, export.columns, export.batches(parts.statements, most=XLSX_ROWS))
    except BaseException:
        file.close()
        raise
    return _answer(_read(file), XLSX, file.close)


def _write_csv(parts: Services, begin: Begin) -> Generator[bytes, None, None]:
    with _seat(parts):
        export = _begin(parts, begin)
        yield from csv_chunks(export.columns, export.batches(parts.statements))


def _begin(parts: Services, begin: Begin) -> Export:
    with parts.sessions.begin() as session:
        return begin(session)


@contextmanager
def _seat(parts: Services) -> Iterator[None]:
    if not parts.export_seats.acquire(blocking=False):
        raise BusyError("Other lists are being written: ask again in a moment.", retry_after=RETRY_SECONDS)
    try:
        yield
    finally:
        parts.export_seats.release()


def _answer(chunks: Iterable[bytes], mimetype: str, close: Callable[[], object]) -> Response:
    response = Response(chunks, mimetype=mimetype)
    response.headers.set("Content-Disposition", "attachment", filename=PurePosixPath(request.path).name)
    response.call_on_close(close)
    return response


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
