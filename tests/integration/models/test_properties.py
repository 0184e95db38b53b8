import pytest

from domain.models import Waitlist
from domain.rules.states import (
    AttemptStatus,
    EventStatus,
    MailStatus,
    OrderStage,
    PaymentStatus,
    TicketStatus,
    UserRole,
    VerificationStatus,
    WaitlistStatus,
)
from tests.factories import (
    AuditLogFactory,
    EmailNotificationFactory,
    EventFactory,
    OrderFactory,
    PaymentTransactionFactory,
    PromoterFactory,
    TicketFactory,
    TicketTierFactory,
    UserFactory,
    WaitlistFactory,
)
from tests.factories.base import from_now


class TestUser:
    def test_has_a_full_name(self):
        assert UserFactory(first_name="Ada", last_name="Lovelace").full_name == "Ada Lovelace"
        assert UserFactory(first_name="Ada", last_name="").full_name == "Ada"

    @pytest.mark.parametrize(
        ("role", "is_promoter", "is_admin"),
        [(UserRole.USER, False, False), (UserRole.PROMOTER, True, False), (UserRole.ADMIN, False, True)],
    )
    def test_has_one_role(self, role, is_promoter, is_admin):
        user = UserFactory(role=role)
        assert (user.is_promoter, user.is_admin) == (is_promoter, is_admin)

    def test_is_deleted_since_a_moment(self):
        assert not UserFactory().is_deleted
        assert UserFactory(deleted_at=from_now()).is_deleted


class TestPromoter:
    @pytest.mark.parametrize("status", VerificationStatus)
    def test_is_verified_by_its_status_alone(self, status):
        promoter = PromoterFactory(verification_status=status)
        assert promoter.is_verified is (status is VerificationStatus.VERIFIED)

    def test_goes_by_the_company_or_by_the_person(self):
        assert PromoterFactory(company_name="Concerts Ltd").display_name == "Concerts Ltd"
        promoter = PromoterFactory(company_name="", user__first_name="Ada", user__last_name="Lovelace")
        assert promoter.display_name == "Ada Lovelace"


class TestEvent:
    @pytest.mark.parametrize("status", EventStatus)
    def test_is_what_its_status_says(self, status):
        event = EventFactory(status=status)
        assert event.is_published is (status is EventStatus.PUBLISHED)
        assert event.is_cancelled is (status is EventStatus.CANCELLED)

    @pytest.mark.parametrize(
        ("hours", "is_upcoming", "is_past"),
        [(1, True, False), (-1, False, False), (-4, False, True)],
    )
    def test_is_upcoming_until_it_starts_and_past_once_it_ended(self, hours, is_upcoming, is_past):
        event = EventFactory(starts_at=from_now(hours=hours))
        assert (event.is_upcoming, event.is_past) == (is_upcoming, is_past)

    def test_says_where_it_is_with_what_is_known(self):
        event = EventFactory(venue_name="Columbiahalle", city="Berlin", region=None, country="DE")
        assert event.location_string == "Columbiahalle, Berlin, DE"
        assert EventFactory(venue_name=None, city=None, country=None).location_string == ""


class TestTicketTier:
    def test_has_available_what_is_neither_sold_nor_reserved(self):
        tier = TicketTierFactory(quantity=10, sold=3, reserved=2)
        assert tier.available == 5
        assert not tier.is_sold_out
        assert tier.percent_sold == 30

    def test_is_sold_out_when_nothing_is_available(self):
        assert TicketTierFactory(quantity=10, sold=8, reserved=2).is_sold_out
        assert TicketTierFactory(quantity=0).percent_sold == 100

    @pytest.mark.parametrize(
        ("values", "on_sale"),
        [
            ({}, True),
            ({"sale_starts_at": from_now(hours=-1), "sale_ends_at": from_now(hours=1)}, True),
            ({"sale_starts_at": from_now(hours=1)}, False),
            ({"sale_ends_at": from_now(hours=-1)}, False),
            ({"is_active": False}, False),
        ],
    )
    def test_is_on_sale_while_active_and_within_its_window(self, values, on_sale):
        assert TicketTierFactory(**values).is_on_sale is on_sale

    @pytest.mark.parametrize(("quantity", "possible"), [(1, False), (2, True), (4, True), (5, False)])
    def test_can_be_purchased_within_its_limits(self, quantity, possible):
        tier = TicketTierFactory(min_per_order=2, max_per_order=4)
        assert tier.can_purchase(quantity) is possible

    def test_cannot_be_purchased_beyond_its_stock_or_its_sale(self):
        assert not TicketTierFactory(quantity=2).can_purchase(3)
        assert not TicketTierFactory(is_active=False).can_purchase(1)


class TestOrder:
    @pytest.mark.parametrize("stage", OrderStage)
    def test_is_pending_or_confirmed_by_its_status(self, stage):
        order = OrderFactory(stage=stage)
        assert order.is_confirmed is (stage in {OrderStage.ISSUING, OrderStage.COMPLETE})
        assert order.is_pending is (not order.is_confirmed and stage is not OrderStage.CLOSED)

    @pytest.mark.parametrize("status", PaymentStatus)
    def test_is_paid_when_its_payment_is_complete(self, status):
        assert OrderFactory(payment_status=status).is_paid is (status is PaymentStatus.COMPLETED)

    def test_counts_the_tickets_of_all_its_items(self):
        tier = TicketTierFactory()
        order = OrderFactory(contents={tier: 2, TicketTierFactory(event=tier.event): 3})
        assert order.total_tickets == 5

    def test_has_a_number_that_a_person_can_read_out(self):
        assert OrderFactory(sequence=42).number == "TV-00000042"
        assert OrderFactory(sequence=123_456_789).number == "TV-123456789"


class TestTicket:
    def test_is_valid_until_it_is_used_or_blocked(self):
        assert TicketFactory().is_valid
        assert not TicketFactory(status=TicketStatus.USED).is_valid
        assert not TicketFactory(blocked_at=from_now()).is_valid

    @pytest.mark.parametrize("status", TicketStatus)
    def test_is_used_by_its_status(self, status):
        assert TicketFactory(status=status).is_used is (status is TicketStatus.USED)

    def test_bears_the_name_of_its_attendee(self):
        assert TicketFactory(attendee_name="Grace Hopper").attendee_name == "Grace Hopper"

    def test_can_be_transferred_until_the_event_starts(self):
        assert TicketFactory().can_transfer
        assert not TicketFactory(event=EventFactory(starts_at=from_now(hours=-1))).can_transfer
        assert not TicketFactory(event=EventFactory(status=EventStatus.CANCELLED)).can_transfer
        assert not TicketFactory(status=TicketStatus.REFUNDED).can_transfer

    def test_can_be_checked_in_until_the_event_ends(self):
        assert TicketFactory(event=EventFactory(starts_at=from_now(hours=-1))).can_check_in
        assert not TicketFactory(event=EventFactory(starts_at=from_now(hours=-4))).can_check_in
        assert not TicketFactory(event=EventFactory(status=EventStatus.CANCELLED)).can_check_in
        assert not TicketFactory(status=TicketStatus.USED).can_check_in


class TestWaitlist:
    def test_waits_until_it_is_offered(self):
        assert WaitlistFactory().is_waiting
        entry = WaitlistFactory(status=WaitlistStatus.OFFERED)
        assert not entry.is_waiting
        assert entry.can_notify

    def test_is_notified_once(self):
        entry = WaitlistFactory(status=WaitlistStatus.OFFERED, notified_at=from_now())
        assert entry.is_notified
        assert not entry.can_notify

    def test_expires_by_its_clock_before_anybody_marks_it(self):
        entry = WaitlistFactory(status=WaitlistStatus.OFFERED, offer_expires_at=from_now(seconds=-1))
        assert entry.is_expired
        assert not entry.can_notify
        assert WaitlistFactory(status=WaitlistStatus.EXPIRED).is_expired
        assert not WaitlistFactory().is_expired

    def test_knows_its_position_among_those_who_wait(self, session):
        tier = TicketTierFactory(quantity=1)
        WaitlistFactory(status=WaitlistStatus.OFFERED, tier=tier)
        first, second = WaitlistFactory(tier=tier), WaitlistFactory(tier=tier)
        WaitlistFactory()
        assert [session.get_one(Waitlist, entry.id).position for entry in (first, second)] == [1, 2]


class TestPaymentTransaction:
    @pytest.mark.parametrize("status", AttemptStatus)
    def test_is_pending_completed_or_failed(self, status):
        attempt = PaymentTransactionFactory(status=status)
        assert attempt.is_completed is (status is AttemptStatus.SUCCEEDED)
        assert attempt.is_failed is (status in {AttemptStatus.FAILED, AttemptStatus.CANCELLED})
        assert attempt.is_pending is not (attempt.is_completed or attempt.is_failed)

    def test_has_an_error_by_code_or_message(self):
        assert not PaymentTransactionFactory().has_error
        assert PaymentTransactionFactory(error_code="card_declined").has_error
        assert PaymentTransactionFactory(error_message="Your card was declined.").has_error


class TestEmailNotification:
    @pytest.mark.parametrize("status", MailStatus)
    def test_stands_by_its_status(self, status):
        mail = EmailNotificationFactory(status=status)
        assert mail.is_pending is (status in {MailStatus.PENDING, MailStatus.SENDING})
        assert mail.is_bounced is (status is MailStatus.BOUNCED)
        assert mail.is_failed is (status is MailStatus.FAILED)

    def test_remembers_what_became_of_it(self):
        mail = EmailNotificationFactory()
        assert [mail.is_sent, mail.is_opened, mail.is_clicked] == [False] * 3
        mail.sent_at = mail.opened_at = mail.clicked_at = from_now()
        assert [mail.is_sent, mail.is_opened, mail.is_clicked] == [True] * 3


class TestAuditLog:
    @pytest.mark.parametrize(
        ("old", "new", "kind"),
        [(None, {"a": 1}, "create"), ({"a": 1}, {"a": 2}, "update"), ({"a": 1}, None, "delete")],
    )
    def test_tells_creating_changing_and_deleting_apart(self, old, new, kind):
        entry = AuditLogFactory(old_data=old, new_data=new)
        assert [name for name in ("create", "update", "delete") if getattr(entry, f"is_{name}")] == [kind]
        assert entry.has_changes

    def test_sees_when_nothing_changed(self):
        assert not AuditLogFactory(old_data={"a": 1}, new_data={"a": 1}).has_changes
