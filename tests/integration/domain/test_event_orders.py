import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from domain.audit import Actor
from domain.errors import ConflictError, ForbiddenError, NotFoundError
from domain.event_orders import OrderFilter, begin_export, list_orders
from domain.models import AuditLog, Order
from domain.rules.states import (
    EventStatus,
    OrderReason,
    OrderSource,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TeamRight,
    UserRole,
)
from tests.factories import OrderFactory, TeamMemberFactory, TicketTierFactory, UserFactory, bound_to
from tests.factories.base import from_now

S, R = OrderStage, OrderReason


@pytest.fixture
def world(session):
    """Make an event with two tiers and orders of many kinds, oldest first, and a whole other event."""
    with bound_to(session):
        front = TicketTierFactory(name="Front", sort_order=1)
        back = TicketTierFactory(name="Back", sort_order=2, event=front.event)
        mary = UserFactory(first_name="Mary", last_name="Somerville", email="mary@analytical.example")
        orders = {
            "waiting": OrderFactory(tier=front),
            "refused": OrderFactory(tier=front, stage=S.CLOSED, quantity=4),
            "expired": OrderFactory(tier=back, stage=S.CLOSED, reason=R.HOLD_EXPIRED),
            "to approve": OrderFactory(tier=back, stage=S.AWAITING_APPROVAL),
            "offered": OrderFactory(tier=front, stage=S.OFFERED),
            "of both": OrderFactory(contents={front: 2, back: 1}, user=mary, stage=S.COMPLETE),
            "billed": OrderFactory(
                tier=back, billing_name="Somerville & Byron 100% Ltd", billing_email="books@byron.example"
            ),
            "refunded": OrderFactory(tier=back, stage=S.CLOSED, status=OrderStatus.REFUNDED, confirmed_at=from_now()),
        }
        OrderFactory(user=mary)
        session.execute(update(Order).where(Order.id == orders["waiting"].id).values(created_at=from_now(days=-3)))
        yield front, back, orders


def actor_of(user):
    return Actor(user_id=user.id, role=user.role)


def names(session, world, **wanted):
    front, _, orders = world
    actor = actor_of(front.event.promoter.user)
    found = list_orders(session, actor, front.event_id, OrderFilter(**wanted), before=None, limit=100)
    known = {order.id: name for name, order in orders.items()}
    return [known[row.id] for row in found]


def test_all_orders_of_the_event_come_newest_first(session, world):
    assert names(session, world) == list(reversed(world[2]))


NARROWED = [
    ({"status": OrderStatus.REFUNDED}, {"refunded"}),
    ({"stage": S.QUEUED}, {"waiting", "billed"}),
    ({"reason": R.SOLD_OUT}, {"refused"}),
    ({"payment_status": PaymentStatus.COMPLETED}, {"of both"}),
    ({"source": OrderSource.WAITLIST}, {"offered"}),
    ({"needs_approval": True}, {"to approve"}),
    ({"created_before": from_now(days=-2)}, {"waiting"}),
    ({"created_from": from_now(days=-2), "stage": S.QUEUED}, {"billed"}),
    ({"words": "somerville"}, {"of both", "billed"}),
    ({"words": "mary some"}, {"of both"}),
    ({"words": "ANALYTICAL.example"}, {"of both"}),
    ({"words": "books@byron"}, {"billed"}),
    ({"words": "100% L"}, {"billed"}),
    ({"words": "1__% L"}, set()),
    ({"words": "somerville", "stage": S.QUEUED}, {"billed"}),
]


def test_a_filter_or_a_search_narrows_it(session, world):
    for wanted, expected in NARROWED:
        assert set(names(session, world, **wanted)) == expected, wanted


def test_a_tier_narrows_it_to_orders_that_have_tickets_of_it(session, world):
    front, _, _ = world
    assert set(names(session, world, tier_id=front.id)) == {"waiting", "refused", "offered", "of both"}
    assert set(names(session, world, tier_id=front.id, words="somerville")) == {"of both"}
    assert names(session, world, tier_id=uuid7()) == []


def test_a_number_is_found_however_it_is_written(session, world):
    order = world[2]["expired"]
    for words in (order.number, order.number.lower(), str(order.sequence), f"TV-{order.sequence}"):
        assert "expired" in names(session, world, words=words)


def test_a_row_says_who_bought_what(session, world):
    front, _, orders = world
    actor = actor_of(front.event.promoter.user)
    (row,) = list_orders(session, actor, front.event_id, OrderFilter(words="mary some"), before=None, limit=5)
    order = orders["of both"]
    assert (row.number, row.sequence, row.total) == (order.number, order.sequence, order.total)
    assert (row.buyer_name, row.buyer_email) == ("Mary Somerville", "mary@analytical.example")
    assert (row.tickets, row.tiers) == (3, "2 x Front, 1 x Back")


@pytest.mark.parametrize("words", [None, "somerville"])
def test_pages_meet_without_a_gap_or_a_repetition(session, world, words):
    front, _, _ = world
    actor, wanted = actor_of(front.event.promoter.user), OrderFilter(words=words)
    whole = [row.id for row in list_orders(session, actor, front.event_id, wanted, before=None, limit=100)]
    walked, before = [], None
    while page := list_orders(session, actor, front.event_id, wanted, before=before, limit=1)[:1]:
        before = page[0].id
        walked.append(before)
    assert walked == whole


class TestWhoMay:
    def test_sellers_may_and_those_with_other_rights_may_not(self, session, world):
        event = world[0].event

        def member(right):
            return actor_of(TeamMemberFactory(promoter_id=event.promoter_id, rights=[right]).user)

        for act in (
            lambda actor: list_orders(session, actor, event.id, OrderFilter(), before=None, limit=1),
            exporting(session, event),
        ):
            act(member(TeamRight.SELL))
            act(actor_of(UserFactory(role=UserRole.ADMIN)))
            for right in (TeamRight.SCAN, TeamRight.MANAGE):
                with pytest.raises(ForbiddenError):
                    act(member(right))
            with pytest.raises(ForbiddenError):
                act(actor_of(UserFactory()))

    def test_strangers_do_not_learn_of_a_draft(self, session, world):
        event = world[0].event
        event.status = EventStatus.DRAFT
        with pytest.raises(NotFoundError):
            exporting(session, event)(actor_of(UserFactory()))
        assert session.query(AuditLog).count() == 0


def exporting(session, event, **wanted):
    return lambda actor: begin_export(session, actor, event.id, OrderFilter(**wanted), "csv")


class TestExport:
    @pytest.fixture
    def export(self, session, world):
        event = world[0].event
        return exporting(session, event)(actor_of(event.promoter.user))

    def test_has_what_the_list_has_batch_by_batch(self, monkeypatch, session, world, export, another):
        monkeypatch.setattr("domain.exports.BATCH", 3)
        batches = [[row.id for row in batch] for batch in export.batches(another)]
        assert [len(batch) for batch in batches] == [3, 3, 2]
        known = {order.id: name for name, order in world[2].items()}
        assert [known[order_id] for batch in batches for order_id in batch] == names(session, world)
        assert export.columns[:3] == ("id", "number", "sequence")

    def test_ends_where_a_file_may_have_no_more_rows(self, world, export, another):
        count = len(world[2])
        assert sum(len(batch) for batch in export.batches(another, most=count)) == count
        with pytest.raises(ConflictError) as refusal:
            list(export.batches(another, most=count - 1))
        assert refusal.value.code == "export-too-large"

    @pytest.fixture
    def another(self, session):
        """Return a factory of sessions that see what this test's session wrote."""

        class Borrowed:
            def __enter__(self):
                return session

            def __exit__(self, *_):
                pass

        return Borrowed

    def test_is_an_act_on_record_that_tells_no_name(self, session, world):
        front, _, _ = world
        promoter = front.event.promoter.user
        exporting(session, front.event, words="Somerville", stage=S.QUEUED, tier_id=front.id)(actor_of(promoter))
        entry = session.query(AuditLog).one()
        assert (entry.action, entry.entity_id, entry.actor_id) == ("orders.export", front.event_id, promoter.id)
        told = {"form": "csv", "words": "given", "stage": "queued", "tier_id": str(front.id), "needs_approval": "False"}
        assert entry.new_data == told
