"""Tickets as PDF (port `TicketPrinter`), set by typst from `ticket_sheet.typ`.

Values reach typst as data, never as markup. The fonts come from wheels, none from the machine (docs/adr/0027), and the
PDF embeds what it uses of them. typst computes without Python's lock.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import orjson
import typst

from adapters.letters import moment
from domain.ports import QRRenderer, TicketFacts

FONT_PACKAGES = (
    "fontpkg_noto_sans",
    "fontpkg_noto_sans_arabic",
    "fontpkg_heebo",
    "fontpkg_noto_sans_thai",
    "noto_cjk_sans_otc",
)
FAMILIES = ("Noto Sans", "Noto Sans Arabic", "Heebo", "Noto Sans Thai")
"""In the order in which they are asked for a letter; the country's kind of Chinese characters comes behind them."""
CHINESE: Mapping[str, str] = {"JP": "JP", "KR": "KR", "TW": "TC", "HK": "HK", "MO": "HK"}
"""By country, whose shapes of the characters that Chinese, Japanese and Korean share; others read the simplified."""


class TicketPrinter:
    """Prints tickets, one A5 page each, tagged so that they can be read aloud."""

    def __init__(self, qr: QRRenderer, product: str = "Ticket Vendor") -> None:
        self._qr = qr
        self._product = product
        self._source = files("adapters").joinpath("ticket_sheet.typ").read_bytes()
        # One thread prints seventy pages a second. With several, typst's caches grow past 300 MB (docs/adr/0027).
        self._press = ThreadPoolExecutor(1, "printer")
        self._fonts = typst.Fonts(
            include_system_fonts=False,
            include_embedded_fonts=False,
            font_paths=[str(files(package)) for package in FONT_PACKAGES],
        )

    def print(self, tickets: Sequence[TicketFacts]) -> bytes:
        """Return a PDF with a page for each ticket, of which there is one at least."""
        return self._press.submit(self._compile, self._sheet(tickets)).result()

    def _compile(self, sheet: str) -> bytes:
        compiler = typst.Compiler(self._source, font_paths=self._fonts, ignore_system_fonts=True)
        # No standard is asked for: under PDF/UA one letter that no font has would refuse the whole ticket.
        content = compiler.compile(sys_inputs={"sheet": sheet}, format="pdf")
        assert isinstance(content, bytes)  # a list of them where a format has a file for each page
        return content

    def _sheet(self, tickets: Sequence[TicketFacts]) -> str:
        pages = [self._page(ticket) for ticket in tickets]
        return orjson.dumps({"product": self._product, "fonts": FAMILIES, "tickets": pages}).decode()

    def _page(self, ticket: TicketFacts) -> dict[str, Any]:
        event = ticket.event
        doors = f"Doors open {moment(event.doors_at, event.timezone)}" if event.doors_at else None
        return {
            "event": event.title,
            "times": [moment(event.starts_at, event.timezone), doors],
            "location": [event.venue, event.address],
            "tier": ticket.tier,
            "attendee": ticket.attendee,
            "order": ticket.order_number,
            "code": ticket.code,
            "qr": self._qr.svg(ticket.qr_payload).decode("ascii"),
            "fonts": [*FAMILIES, f"Noto Sans CJK {CHINESE.get(event.country or '', 'SC')}"],
        }
