import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jinja2 import meta

from adapters import letters
from adapters.letters import CONTEXTS, REASONS, Letters, moment, money
from domain.errors import PermanentVendorError
from domain.rules import states
from tests.fakes.letters import letter

TEMPLATES = Path(letters.__file__).parent / "mail_templates"
SHARED = {"base", "parts"}

ESSENTIALS = {
    "verify_email": ["Ada", "https://tickets.example/verify?token=secret-1"],
    "password_reset": ["Ada", "https://tickets.example/reset?token=secret-2", "30", "minutes"],
    "account_erased": ["Ada", "deleted", "accounting"],
    "order_held": ["TV-7KQ2M9", "Monday 1 June 2026, 12:05 CEST", "97.91 EUR", "https://tickets.example/orders/7KQ2M9"],
    "order_confirmed": [
        *("TV-7KQ2M9", "Saturday 4 July 2026, 19:30 CEST", "Harbour Stage", "Refshalevej 167, Copenhagen"),
        *("fWb1oQ6CwzXn2mKd8RtYpA", "Zk3vU9sLqTe7HxBcN0gJiw", "Standing", "Ada Lovelace"),
        *("90.00 EUR", "3.25 EUR", "4.66 EUR", "97.91 EUR", "https://tickets.example/orders/7KQ2M9"),
    ],
    "order_cancelled": ["TV-7KQ2M9", "The time to pay ran out", "https://tickets.example/orders/7KQ2M9"],
    "order_refunded": [
        "TV-7KQ2M9",
        "45.00 EUR",
        "97.91 EUR",
        "2 tickets of it were refunded",
        "https://tickets.example/orders/7KQ2M9",
    ],
    "late_payment_refunded": ["TV-7KQ2M9", "45.00 EUR", "https://tickets.example/orders/7KQ2M9"],
    "waitlist_offer": [
        *("2 \N{MULTIPLICATION SIGN} Standing", "Monday 1 June 2026, 12:30 CEST", "Saturday 4 July 2026, 19:30 CEST"),
        *(
            "https://tickets.example/offers/1/accept?token=secret-3",
            "https://tickets.example/offers/1/decline?token=secret-3",
        ),
    ],
    "order_awaiting_approval": ["TV-7KQ2M9", "Monday 1 June 2026, 13:00 CEST", "97.91 EUR"],
    "orders_await_approval": ["3 orders wait", "Monday 1 June 2026, 13:00 CEST"],
    "transfer_offered": [
        *("Grace Hopper", "1 \N{MULTIPLICATION SIGN} Standing", "Monday 8 June 2026, 12:00 CEST"),
        "https://tickets.example/transfers/1?token=secret-4",
    ],
    "transfer_accepted": ["Grace Hopper has taken over", "opens no door any more"],
    "transfer_refused": ["Grace Hopper declined", "still good"],
    "ticket_received": ["from Grace Hopper is yours now", "fWb1oQ6CwzXn2mKd8RtYpA", "Saturday 4 July 2026, 19:30 CEST"],
    "ticket_withdrawn": [
        *("Grace Hopper", "The event was cancelled.", "opens no door any more", "whoever paid for the ticket"),
    ],
    "event_cancelled": ["TV-7KQ2M9", "cancelled", "45.00 EUR", "https://tickets.example/orders/7KQ2M9"],
    "team_joined": ["Ada", "Harbour Concerts", "work at the door", "see orders, decide on them and refund them"],
    "webhook_disabled": ["Ada", "https://harbour.example/hooks", "for five days nothing that we sent there arrived"],
    "event_changed": [
        *("postponed", "Saturday 27 June 2026, 19:30 CEST", "Saturday 4 July 2026, 19:30 CEST", "not known yet"),
        *("Saturday 20 June 2026, 12:00 CEST", "https://tickets.example/orders/7KQ2M9"),
    ],
    "reminder": ["Saturday 4 July 2026, 19:30 CEST", "Saturday 4 July 2026, 18:30 CEST", "Harbour Stage"],
    "announcement": [
        *("Bring something warm", "Harbour & Sons", "https://example.com/ferries?a=1&b=2"),
        "https://tickets.example/unsubscribe/1?token=secret-4",
    ],
}


def plain(text):
    """Undo what differs between the two kinds of text and is not a fact."""
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").replace("&amp;", "&").split())


def render(template, **changes):
    return Letters().render(letter(template, **changes))


@pytest.mark.parametrize("template", ESSENTIALS)
def test_html_and_text_both_carry_what_matters(template):
    rendered = render(template)
    for fact in ESSENTIALS[template]:
        assert fact in plain(rendered.html)
        assert fact in plain(rendered.text)
    assert 10 <= len(rendered.subject) <= 78


def test_every_template_is_a_pair_with_a_context_and_a_sample():
    for suffix in ("html", "txt"):
        assert {path.stem for path in TEMPLATES.glob(f"*.{suffix}")} - SHARED == set(CONTEXTS) == set(ESSENTIALS)


@pytest.mark.parametrize("template", CONTEXTS)
def test_a_template_reads_exactly_what_its_context_declares(template):
    environment = letters._environment()
    given_by_us = {"product", "recipient_name", "subject", "parts"}
    used = set()
    for name in (f"{template}.html", f"{template}.txt", "base.html", "base.txt"):
        used |= meta.find_undeclared_variables(environment.parse((TEMPLATES / name).read_text()))
    assert used - given_by_us == CONTEXTS[template]


@pytest.mark.parametrize("template", CONTEXTS)
def test_a_missing_value_stops_the_letter(template):
    for name in CONTEXTS[template]:
        whole = letter(template)
        partial = {key: value for key, value in whole.context.items() if key != name}
        with pytest.raises(PermanentVendorError, match=name):
            Letters().render(type(whole)(whole.reference, template, whole.recipient, whole.recipient_name, partial))


def test_an_unknown_template_is_refused():
    whole = letter()
    with pytest.raises(PermanentVendorError, match="no_such"):
        Letters().render(type(whole)(whole.reference, "no_such", "a@example.com", "A", {}))


def test_values_are_data_in_html():
    html = render("order_confirmed").html
    assert "Nordic Noise &lt;Open Air&gt; &amp; Friends" in html
    assert "<Open Air>" not in html
    assert "<script>" not in render("verify_email", first_name="<script>alert(1)</script>").html
    assert 'href="x"' not in render("verify_email", link='"><a href="x">').html


def test_the_text_is_not_escaped():
    rendered = render("order_confirmed")
    assert "Nordic Noise <Open Air> & Friends" in rendered.text
    assert rendered.subject == "Your tickets for Nordic Noise <Open Air> & Friends"


def test_a_title_cannot_add_a_header():
    event = letter().context["event"] | {"title": "Gig\r\nBcc: everyone@example.com"}
    assert render("order_confirmed", event=event).subject == "Your tickets for Gig Bcc: everyone@example.com"


def test_each_ticket_shows_its_own_picture():
    html = render("order_confirmed").html
    assert re.findall(r'src="cid:([^"]+)"', html) == ["ticket-1", "ticket-2"]


def test_one_ticket_is_not_called_tickets():
    rendered = render("order_confirmed", tickets=letter().context["tickets"][:1])
    assert rendered.subject.startswith("Your ticket for")
    assert "Your ticket is here" in rendered.text


def test_an_event_without_a_place_leaves_no_gap():
    event = letter().context["event"] | {"venue": None, "location": None}
    rendered = render("order_confirmed", event=event)
    assert "None" not in rendered.html + rendered.text


def test_a_free_order_of_a_cancelled_event_promises_no_money():
    free = {"currency": "EUR", "total": 0, "refunded": 0}
    rendered = render("event_cancelled", amounts=free)
    assert "nothing to refund" in rendered.text
    assert "nothing to refund" in rendered.html


def test_every_reason_an_order_can_end_with_is_said_in_words():
    assert {str(reason.value) for reason in states.OrderReason} == set(REASONS)
    for reason, sentence in REASONS.items():
        rendered = render("order_cancelled", reason=reason)
        assert sentence in rendered.text
        assert sentence in rendered.html


def test_an_unknown_reason_stops_the_letter():
    with pytest.raises(PermanentVendorError):
        render("order_cancelled", reason="because")


def test_every_html_letter_is_whole_and_fits_a_phone():
    for template in CONTEXTS:
        html = render(template).html
        assert html.startswith("<!doctype html>")
        assert 'name="viewport"' in html
        assert html.count("<table") == html.count("</table>")
        assert "<form" not in html
        assert "http://" not in html


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (4500, "EUR", "45.00 EUR"),
        (5, "usd", "0.05 USD"),
        (123456789, "GBP", "1,234,567.89 GBP"),
        (1200, "JPY", "1,200 JPY"),
        (3250, "KWD", "3.250 KWD"),
        (0, "EUR", "0.00 EUR"),
        (-150, "EUR", "-1.50 EUR"),
    ],
)
def test_money_is_written_by_its_currency(amount, currency, written):
    assert money(amount, currency).replace("\N{NO-BREAK SPACE}", " ") == written


@pytest.mark.parametrize(
    ("value", "timezone", "written"),
    [
        ("2026-03-29T00:30:00+00:00", "Europe/Copenhagen", "Sunday 29 March 2026, 01:30 CET"),
        ("2026-03-29T01:30:00Z", "Europe/Copenhagen", "Sunday 29 March 2026, 03:30 CEST"),
        (datetime(2026, 1, 1, 3, tzinfo=UTC), "America/New_York", "Wednesday 31 December 2025, 22:00 EST"),
        (datetime(2026, 1, 1, tzinfo=UTC), "UTC", "Thursday 1 January 2026, 00:00 UTC"),
        (datetime(2026, 1, 1, tzinfo=UTC), "Asia/Dubai", "Thursday 1 January 2026, 04:00 UTC+04"),
    ],
)
def test_times_are_those_of_the_place(value, timezone, written):
    assert moment(value, timezone) == written


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        moment("2026-01-01T00:00:00")


def test_an_unknown_zone_stops_the_letter():
    with pytest.raises(PermanentVendorError):
        render("order_confirmed", event=letter().context["event"] | {"timezone": "Mars/Base"})
