import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pypdfium2
import pytest
import typst
import zxingcpp

from adapters.qr_renderer import QRRenderer
from adapters.ticket_printer import TicketPrinter
from tests.fixtures.documents import event_facts, ticket_facts

A5_POINTS = (420, 595)
MARKUP = '#panic("x") $x^2$ *bold* @ref <label> `raw` \\ // /* [link](x)'
ZERO_WIDTH = dict.fromkeys(map(ord, "\u200b\ufeff\ufffe\u2028"))

SCRIPTS = {
    "Latin": "Łódź, Ångström & Phở",
    "Greek": "Μουσική βραδιά",
    "Cyrillic": "Музыкальный вечер",
    "Arabic": "أمسية موسيقية",
    "Hebrew": "ערב מוזיקה",
    "Devanagari": "संगीत संध्या",
    "Thai": "งานดนตรี",
    "Japanese": "東京ジャズフェス",
    "Korean": "서울 재즈 축제",
    "Chinese": "爵士音乐节",
}


@pytest.fixture(scope="module")
def printer():
    return TicketPrinter(QRRenderer())


@pytest.fixture
def pages(printer):
    """Print tickets, and return what another reader finds on each page: its size, its text, its codes, its fonts."""

    def pages(*tickets):
        document = pypdfium2.PdfDocument(printer.print(tickets))
        found = [read(page) for page in document]
        document.close()
        return found

    return pages


def read(page):
    codes = zxingcpp.read_barcodes(page.render(scale=2).to_pil(), formats=zxingcpp.BarcodeFormat.QRCode)
    text = page.get_textpage().get_text_range()
    fonts = {item.get_font().get_base_name() for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_TEXT])}
    return tuple(round(side) for side in page.get_size()), flat(text), [code.text for code in codes], fonts


def flat(text):
    """Return a text without its line breaks and spaces, which a reader of PDFs guesses."""
    return "".join(unicodedata.normalize("NFKC", text.translate(ZERO_WIDTH)).split())


def test_another_reader_finds_what_the_ticket_says_and_the_code_that_the_door_reads(pages):
    ticket = ticket_facts()
    ((size, text, codes, _),) = pages(ticket)
    assert size == A5_POINTS
    assert codes == [ticket.qr_payload]
    for words in (
        "Nordic Noise",
        "Saturday 3 July 2027, 19:30 CEST",
        "Doors open Saturday 3 July 2027, 18:30 CEST",
        "Harbour Stage",
        "Kajgade 1, 1100 København, DK",
        "Standing",
        "Ada Lovelace",
        ticket.code,
        ticket.order_number,
    ):
        assert flat(words) in text


def test_each_ticket_has_a_page_with_its_own_code(pages):
    tickets = [ticket_facts(qr_payload=f"TV1.t1.{place}", attendee=f"Guest {place}") for place in range(3)]
    found = pages(*tickets)
    assert [codes for _, _, codes, _ in found] == [[ticket.qr_payload] for ticket in tickets]
    assert all(f"Guest{place}" in text and f"{place + 1}/3" in text for place, (_, text, _, _) in enumerate(found))


def print_strictly(printer, ticket):
    """Print by PDF/UA, which refuses a letter that no font has."""
    compiler = typst.Compiler(printer._source, font_paths=printer._fonts, ignore_system_fonts=True)
    compiler.compile(sys_inputs={"sheet": printer._sheet([ticket])}, format="pdf", pdf_standards=["ua-1"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_its_letters_in_the_fonts_that_we_ship(printer, script):
    words = SCRIPTS[script]
    print_strictly(printer, ticket_facts(attendee=words, tier=words, event=event_facts(title=words)))


def test_a_letter_that_no_font_has_is_a_box_and_no_refusal(printer, pages):
    ticket = ticket_facts(attendee="ქართული 🎉")
    with pytest.raises(typst.TypstError, match="could not be displayed"):
        print_strictly(printer, ticket)
    assert pages(ticket)[0][2] == [ticket.qr_payload]


def test_chinese_characters_have_the_shapes_of_the_events_country(pages):
    names = {
        country: pages(ticket_facts(attendee="直", event=event_facts(country=country)))[0][3]
        for country in ("JP", "KR", "TW", "HK", "CN", None)
    }
    kinds = {
        country: next(name.split("CJK")[1][:2].upper() for name in fonts if "CJK" in name)
        for country, fonts in names.items()
    }
    assert kinds == {"JP": "JP", "KR": "KR", "TW": "TC", "HK": "HK", "CN": "SC", None: "SC"}


def test_markup_is_printed_as_it_was_typed(pages):
    event = event_facts(title=MARKUP, venue=MARKUP, address=MARKUP)
    ((_, text, codes, _),) = pages(ticket_facts(event=event, tier=MARKUP, attendee=MARKUP))
    assert text.count(flat(MARKUP)) == 5
    assert len(codes) == 1


def test_what_is_long_stays_on_the_page_and_leaves_the_code_readable(pages):
    event = event_facts(title="A Title That Goes On " * 10, venue="W" * 200, address="Street " * 40)
    ((_, text, codes, _),) = pages(ticket_facts(event=event, tier="Donau" * 20, attendee="Wolfeschlegel" * 12))
    assert len(codes) == 1
    assert "Wolfeschlegel" in text


def test_what_is_not_known_is_left_out(pages):
    event = event_facts(doors_at=None, venue=None, address=None, country=None, position=None, description=None)
    ((_, text, _, _),) = pages(ticket_facts(event=event))
    assert "Where" not in text
    assert "Doors" not in text


def test_threads_share_a_printer(printer):
    tickets = [ticket_facts(attendee=f"Guest {place}") for place in range(8)]
    with ThreadPoolExecutor(4) as pool:
        printed = list(pool.map(lambda ticket: printer.print([ticket]), tickets))
    assert all(content.startswith(b"%PDF-") for content in printed)
    assert len(set(printed)) == len(tickets)
